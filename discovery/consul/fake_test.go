package consul

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is a fake Consul agent for the faults that a real one cannot be made to have on demand or in
// virtual time. What an agent does by itself is tested against a real one.
type agent struct {
	ln     *pipes
	server *http.Server

	mu       sync.Mutex
	index    uint64
	change   notify.Broadcast
	services map[string]*held
	policies map[string][]byte
	// fault returns true if it has answered the request itself.
	fault    func(w http.ResponseWriter, r *http.Request) bool
	requests []string
	// old makes the agent ignore filters of catalog services.
	old bool
}

type held struct {
	reg    api.AgentServiceRegistration
	checks map[string]string
}

// newAgent starts an agent that runs until the test, or the bubble, ends.
func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{ln: newPipes()}
	a.forget()
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: time.Hour}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.server.Serve(a.ln)
	}()
	t.Cleanup(func() {
		_ = a.server.Close()
		<-done
	})
	return a
}

// forget drops all state, like a restart of an agent without data.
func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services, a.policies = make(map[string]*held), make(map[string][]byte)
	a.index = 10
	a.wakeLocked()
}

func (a *agent) wakeLocked() {
	a.index++
	a.change.All()
}

// setFault replaces the fault and ends the queries that wait.
func (a *agent) setFault(fault func(w http.ResponseWriter, r *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
	a.wakeLocked()
}

// down cuts all connections and refuses new ones, until it is called with false.
func (a *agent) down(yes bool) {
	a.ln.refuse(yes)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakeLocked()
}

// add puts instances into the catalog as another process would.
func (a *agent) add(t *testing.T, instances ...discovery.Instance) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, in := range instances {
		reg, err := encode(in.Normalized(), "other")
		if err != nil {
			t.Fatal(err)
		}
		a.services[in.ID] = &held{reg: *reg, checks: map[string]string{reg.Check.CheckID: api.HealthPassing}}
	}
	a.wakeLocked()
}

func (a *agent) remove(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		delete(a.services, id)
	}
	a.wakeLocked()
}

func (a *agent) setPolicy(key, document string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if document == "" {
		delete(a.policies, key)
	} else {
		a.policies[key] = []byte(document)
	}
	a.wakeLocked()
}

// count returns how many requests had text in their method and URL, and forgets them all.
func (a *agent) count(text string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, r := range a.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	a.requests = nil
	return n
}

// ids returns the registered IDs, sorted.
func (a *agent) ids() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for id := range a.services {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The server notices that the client has gone only after the body was read.
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	fault := a.fault
	a.requests = append(a.requests, r.Method+" "+r.URL.String())
	a.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/v1/health/service/"):
		a.wait(r)
		a.health(w, r, strings.TrimPrefix(path, "/v1/health/service/"))
	case path == "/v1/catalog/services":
		a.wait(r)
		a.catalog(w, r.URL.Query().Get("filter"))
	case strings.HasPrefix(path, "/v1/kv/"):
		a.wait(r)
		a.kv(w, strings.TrimPrefix(path, "/v1/kv/"))
	default:
		a.local(w, r)
	}
}

// wait holds a blocking query until something changes or its time is over.
func (a *agent) wait(r *http.Request) {
	index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	limit, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		a.mu.Lock()
		now, changed := a.index, a.change.C()
		a.mu.Unlock()
		if index == 0 || now > index {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (a *agent) health(w http.ResponseWriter, r *http.Request, service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	backend := "blocking-query"
	if r.URL.Query().Has("index") || r.URL.Query().Has("cached") {
		backend = backendStreaming
	}
	// A real agent does the same; see the comment on plain.
	w.Header().Set("X-Consul-KnownLeader", strconv.FormatBool(backend != backendStreaming))
	w.Header().Set("X-Consul-Query-Backend", backend)
	list := []any{}
	for _, h := range a.services {
		if h.reg.Name == service {
			list = append(list, h.entry("dc1"))
		}
	}
	a.answerLocked(w, list)
}

// catalog lists the services and their tags. filter comes from tagFilter or namespaceFilter, or is empty.
func (a *agent) catalog(w http.ResponseWriter, filter string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-Query-Backend", "blocking-query")
	list := map[string][]string{}
	if a.old {
		filter = ""
		list["consul"] = []string{}
	}
	for _, h := range a.services {
		picked := slices.ContainsFunc(h.reg.Tags, func(tag string) bool {
			return filter == tagFilter(discovery.TagQuery{Tag: tag, Namespace: h.reg.Meta[metaNamespace]})
		})
		if filter == "" || picked || filter == namespaceFilter(h.reg.Meta[metaNamespace]) {
			list[h.reg.Name] = append(list[h.reg.Name], h.reg.Tags...)
		}
	}
	a.answerLocked(w, list)
}

func (h *held) entry(dc string) entry {
	var e entry
	e.Node.Node, e.Node.Address, e.Node.Datacenter = "node-1", "192.0.2.200", dc
	e.Service.ID, e.Service.Service = h.reg.ID, h.reg.Name
	e.Service.Address, e.Service.Port = h.reg.Address, h.reg.Port
	e.Service.Tags, e.Service.Meta = h.reg.Tags, h.reg.Meta
	if h.reg.Weights != nil {
		e.Service.Weights.Passing = h.reg.Weights.Passing
	}
	for id, status := range h.checks {
		e.Checks = append(e.Checks, struct{ CheckID, Status string }{id, status})
	}
	return e
}

func (a *agent) answerLocked(w http.ResponseWriter, body any) {
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	_ = json.NewEncoder(w).Encode(body)
}

func (a *agent) kv(w http.ResponseWriter, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	document, ok := a.policies[key]
	if !ok {
		w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
		w.WriteHeader(http.StatusNotFound)
		return
	}
	a.answerLocked(w, []api.KVPair{{Key: key, Value: document}})
}

// local handles requests about the agent's own services.
func (a *agent) local(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	verb, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/agent/"), "/")
	switch {
	case r.URL.Path == "/v1/agent/service/register":
		var reg api.AgentServiceRegistration
		if err := json.NewDecoder(r.Body).Decode(&reg); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h := a.services[reg.ID]
		if h == nil || r.URL.Query().Has("replace-existing-checks") {
			h = &held{checks: make(map[string]string)}
			a.services[reg.ID] = h
		}
		h.reg = reg
		h.checks[reg.Check.CheckID] = api.HealthPassing
		a.wakeLocked()
	case verb == "check":
		id = strings.TrimPrefix(id, "update/")
		for _, h := range a.services {
			if _, ok := h.checks[id]; ok {
				return
			}
		}
		http.Error(w, "Unknown check ID "+id, http.StatusNotFound)
	case verb == "health":
		id = strings.TrimPrefix(id, "service/id/")
		h := a.services[id]
		if h == nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"AggregatedStatus":"critical"}`))
			return
		}
		var info api.AgentServiceChecksInfo
		info.Service = &api.AgentService{
			ID: id, Service: h.reg.Name, Tags: h.reg.Tags, Meta: h.reg.Meta,
			Address: h.reg.Address, Port: h.reg.Port, Weights: *h.reg.Weights, Datacenter: "dc1",
		}
		code := http.StatusOK
		for id, status := range h.checks {
			info.Checks = append(info.Checks, &api.HealthCheck{CheckID: id, Status: status})
			if status == api.HealthCritical {
				code = http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(info)
	case strings.HasPrefix(id, "deregister/"):
		delete(a.services, strings.TrimPrefix(id, "deregister/"))
		a.wakeLocked()
	case strings.HasPrefix(id, "maintenance/"):
		if h := a.services[strings.TrimPrefix(id, "maintenance/")]; h != nil {
			delete(h.checks, api.ServiceMaintPrefix+h.reg.ID)
			if r.URL.Query().Get("enable") == "true" {
				h.checks[api.ServiceMaintPrefix+h.reg.ID] = api.HealthCritical
			}
		}
		a.wakeLocked()
	default:
		http.Error(w, "unexpected "+r.URL.Path, http.StatusTeapot)
	}
}
