package consul

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/security"
)

// answers returns a fault that gives every request the same answer.
func answers(code int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
		return true
	}
}

// onWrite limits a fault to requests that change something.
func onWrite(fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodPut && fault(w, r) }
}

func TestRegisterTellsAnIllRegistryFromARefusal(t *testing.T) {
	duplicate := func(a *agent) { a.add(t, instance("orders-1")) }
	fault := func(f func(http.ResponseWriter, *http.Request) bool) func(*agent) {
		return func(a *agent) { a.setFault(f) }
	}
	for name, c := range map[string]struct {
		spoil func(*agent)
		is    error
		says  string
	}{
		"down":            {func(a *agent) { a.down(true) }, discovery.ErrUnavailable, "127.0.0.1:8500 cannot be reached"},
		"500":             {fault(answers(500, "No cluster leader")), discovery.ErrUnavailable, "500 (No cluster leader)"},
		"503":             {fault(answers(503, "try later")), discovery.ErrUnavailable, "503 (try later)"},
		"429":             {fault(answers(429, "Your IP is issuing too many")), discovery.ErrUnavailable, "(429) (Your IP is issuing too many)"},
		"500 at the end":  {fault(onWrite(answers(500, "rpc error"))), discovery.ErrUnavailable, "500 (rpc error)"},
		"429 at the end":  {fault(onWrite(answers(429, "slow down"))), discovery.ErrUnavailable, "(slow down)"},
		"HTML":            {fault(answers(200, " \n<html>")), discovery.ErrUnavailable, "what answers at 127.0.0.1:8500 is not Consul: it answers 200 with HTML"},
		"HTML with 404":   {fault(answers(404, "<html>")), discovery.ErrUnavailable, "not Consul: it answers 404 with HTML"},
		"HTML to a write": {fault(onWrite(answers(200, "<html>"))), discovery.ErrUnavailable, "not Consul: it answers 200 with HTML"},
		"a plain 404":     {fault(answers(404, "404 page not found")), discovery.ErrUnavailable, "not Consul: it answers 404"},
		"403":             {fault(answers(403, "Permission denied: \x1b[1m")), ErrDenied, `none is set (Permission denied: \x1b[1m)`},
		"400":             {fault(onWrite(answers(400, "Invalid service"))), nil, "400 (Invalid service)"},
		"a duplicate":     {duplicate, discovery.ErrDuplicateID, "NewInstanceID"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				r, _ := a.registry(t, Config{})
				c.spoil(a)
				_, err := r.Register(t.Context(), instance("orders-1"))
				if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("error %v, want %v with %q", err, c.is, c.says)
				}
				ill := errors.Is(c.is, discovery.ErrUnavailable)
				if errors.Is(err, discovery.ErrUnavailable) != ill {
					t.Errorf("%v is ErrUnavailable: %t, want %t", err, !ill, ill)
				}
			})
		})
	}
}

func TestAnInvalidInstanceIsNoIllRegistry(t *testing.T) {
	a := newAgent(t)
	r, _ := a.registry(t, Config{})
	_, err := r.Register(t.Context(), discovery.Instance{ID: "a b"})
	if !errors.Is(err, discovery.ErrInvalidInstance) || errors.Is(err, discovery.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

func TestRegisterWithoutAnAgentSaysWhatToDo(t *testing.T) {
	clearEnv(t)
	for name, c := range map[string]struct {
		cfg, env string
		says     []string
		silent   string
	}{
		"address of the environment": {"", "127.0.0.1:8600", []string{
			"127.0.0.1:8600", "is the agent running there", "is CONSUL_HTTP_ADDR right", "Unset it to use this machine's registry",
		}, "8500"},
		"address of the config":  {"127.0.0.1:8600", "127.0.0.1:1", []string{"is Config.Address right?"}, "CONSUL_HTTP_ADDR"},
		"no address":             {"", "", []string{"127.0.0.1:8500", "is the agent running?", "CONSUL_HTTP_ADDR"}, "Unset"},
		"an address without one": {"", "http://localhost", []string{"names no port", "8500", "Unset it"}, "  "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_ADDR", c.env)
			a := newAgent(t)
			a.down(true)
			r, err := New(Config{Address: c.cfg, StateDir: stateOff, dial: a.ln.dial})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = r.Register(t.Context(), instance("orders-1"))
			if err == nil {
				t.Fatal("registered with nobody")
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), c.silent) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: says %q, or several lines", err, c.silent)
			}
		})
	}
}

func TestATokenThatConsulDoesNotKnowIsSaidToBeSo(t *testing.T) {
	const token = "0f3a5b1c-7777-4444-9999-5ec4e75ec4e7"
	clearEnv(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg    Config
		env    map[string]string
		origin string
	}{
		"config":           {Config{Token: security.Hide(token)}, nil, "Config.Token"},
		"environment":      {Config{}, map[string]string{"CONSUL_HTTP_TOKEN": token}, "CONSUL_HTTP_TOKEN"},
		"file":             {Config{TokenFile: file}, nil, "the file " + file},
		"file, in the env": {Config{}, map[string]string{"CONSUL_HTTP_TOKEN_FILE": file}, "the file " + file},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t)
				// Link must not print the token even if Consul repeated it, which Consul does not.
				a.setFault(answers(http.StatusForbidden, "ACL not found: "+token+strings.Repeat("x", maxErrorText)))
				r, log := a.registry(t, c.cfg)
				_, err := r.Register(t.Context(), instance("orders-1"))
				ch := watchOrders(t, r)
				policies := watchPolicy(t, r, orders)
				settle(time.Second)
				snapshot, policy := newest(t, ch), <-policies
				want := "Consul does not know this token (from " + c.origin + ") (ACL not found: " + redacted + ")"
				if !errors.Is(err, ErrDenied) {
					t.Errorf("error %v, want ErrDenied", err)
				}
				for what, text := range map[string]string{
					"error": err.Error(), "snapshot": snapshot.Reason, "policy": policy.Reason,
				} {
					if !strings.Contains(text, want) {
						t.Errorf("%s: %q, want one with %q", what, text, want)
					}
				}
				for _, text := range []string{err.Error(), snapshot.Reason, policy.Reason, log.String()} {
					if strings.Contains(text, token[:tellingPart]) {
						t.Errorf("the token is printed: %s", text)
					}
				}
			})
		})
	}
}

func TestWordsOfConsulAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setFault(answers(http.StatusInternalServerError, strings.Repeat("x", 1<<20)+"\nmore"))
		r, _ := a.registry(t, Config{})
		_, err := r.Register(t.Context(), instance("orders-1"))
		if err == nil || !strings.HasSuffix(err.Error(), "500 ("+strings.Repeat("x", maxQuoted)+"…)") {
			t.Errorf("error %v", err)
		}
	})
}

// TestALargeInstanceThatIsOutIsTakenOver checks that the ID of a critical instance with much metadata can be reused. The
// agent answers a query about such an instance with status 503 and all its metadata.
func TestALargeInstanceThatIsOutIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		in := instance("orders-1")
		in.Meta = make(map[string]string)
		for key := range strings.SplitSeq("abcdefghijklmnopqrst", "") {
			in.Meta[key] = strings.Repeat("x", bounds.MaxMetaValue)
		}
		a.add(t, in)
		a.mu.Lock()
		for id := range a.services["orders-1"].checks {
			a.services["orders-1"].checks[id] = api.HealthCritical
		}
		a.mu.Unlock()
		r, _ := a.registry(t, Config{})
		register(t, r, in)
	})
}

func TestLogsNameADatacenterOnlyIfOneIsMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.setFault(status(500, ""))
		r, log := a.registry(t, Config{Datacenters: []string{"dc2"}})
		watchOrders(t, r)
		settle(time.Minute)
		if log.lines("level=WARN") != 2 || log.lines("datacenter=dc2") != 1 || log.lines(" datacenter=") != 1 {
			t.Errorf("log:\n%s", log)
		}
	})
}
