package consul

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/place"
)

// Meta keys of link and their values. All keys begin with metaPrefix, and none becomes part of
// Instance.Meta.
const (
	metaPrefix    = "link-"
	metaProto     = "link-proto"   // protocol; link ignores entries without it
	metaNamespace = "link-ns"      // "" is discovery.DefaultNamespace
	metaWeight    = "link-weight"  // Instance.Weight
	metaStarted   = "link-started" // Instance.Started, startedFormat
	metaStatus    = "link-status"  // statusDrain, or absent
	metaOwner     = "link-owner"   // random, new for each registration

	// consulPrefix is the prefix of keys that Consul reserves (agent/structs/structs.go).
	consulPrefix = "consul-"

	// protocol is the version that this package speaks.
	protocol      = "1"
	startedFormat = time.RFC3339Nano
	statusDrain   = "draining"
)

// tagNamespace is the prefix of the tag that gives the namespace. Consul filters by it, so that a
// watch is woken only by changes in its own namespace. In DNS, link-ns-blue.orders.service.consul
// selects that namespace. The tag never becomes part of Instance.Tags.
const tagNamespace = "link-ns-"

// instanceFilter selects the instances of a namespace among those of a service (api-docs/health).
func instanceFilter(namespace string) string {
	return `"` + tagNamespace + namespace + `" in Service.Tags`
}

// checkID returns the ID of the heartbeat check. It contains the owner, so that heartbeats of one
// registration cannot keep alive another one that has taken over the ID, and fail in that case.
func checkID(id, owner string) string { return "service:" + id + ":" + owner }

// check calls Instance.Validate, and rejects tags and meta keys that are reserved for link or Consul.
func check(in discovery.Instance) error {
	if err := in.Validate(); err != nil {
		return err
	}
	for i, tag := range in.Tags {
		if strings.HasPrefix(tag, tagNamespace) {
			return &discovery.FieldError{
				Kind: discovery.ErrInvalidInstance, Field: "Tags[" + strconv.Itoa(i) + "]", Value: tag,
				Reason: "tags that begin with " + tagNamespace + " are kept for link; choose another",
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in.Meta)) {
		if strings.HasPrefix(key, metaPrefix) || strings.HasPrefix(key, consulPrefix) {
			return &discovery.FieldError{
				Kind: discovery.ErrInvalidInstance, Field: "Meta key", Value: key,
				Reason: "keys that begin with " + metaPrefix + " or " + consulPrefix + " are kept for link and Consul; choose another",
			}
		}
	}
	return nil
}

// encode returns the registration of in, which must be valid and normalized.
func encode(in discovery.Instance, owner string) (*api.AgentServiceRegistration, error) {
	host, port, err := net.SplitHostPort(in.Addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", in.Addr, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", in.Addr, err)
	}
	meta := make(map[string]string, len(in.Meta)+6)
	maps.Copy(meta, in.Meta)
	meta[metaProto] = protocol
	meta[metaNamespace] = in.Namespace
	meta[metaWeight] = strconv.Itoa(in.Weight)
	meta[metaOwner] = owner
	if !in.Started.IsZero() {
		meta[metaStarted] = in.Started.Format(startedFormat)
	}
	if in.Status == discovery.Draining {
		meta[metaStatus] = statusDrain
	}
	return &api.AgentServiceRegistration{
		ID:      in.ID,
		Name:    in.Service,
		Tags:    append(slices.Clip(in.Tags), tagNamespace+in.Namespace),
		Address: host,
		Port:    number,
		Meta:    meta,
		Weights: &api.AgentWeights{Passing: in.Weight, Warning: 1},
		// Others must not change the tags of this instance.
		EnableTagOverride: false,
		Check: &api.AgentServiceCheck{
			CheckID:                        checkID(in.ID, owner),
			Name:                           "link heartbeat",
			Notes:                          checkNotes,
			TTL:                            checkTTL.String(),
			Status:                         api.HealthPassing,
			DeregisterCriticalServiceAfter: deregisterAfter.String(),
		},
	}, nil
}

// sameAs reports whether the agent's entry equals reg.
func sameAs(held *api.AgentService, reg *api.AgentServiceRegistration) bool {
	return held.Service == reg.Name &&
		held.Address == reg.Address &&
		held.Port == reg.Port &&
		held.Weights == *reg.Weights &&
		!held.EnableTagOverride &&
		slices.Equal(held.Tags, reg.Tags) &&
		maps.Equal(held.Meta, reg.Meta)
}

// entry has the relevant fields of one element of an answer about a service.
type entry struct {
	Node struct {
		Node       string
		Address    string
		Datacenter string
	}
	Service struct {
		ID          string
		Service     string
		Address     string
		Port        int
		Tags        []string
		Meta        map[string]string
		Weights     struct{ Passing int }
		CreateIndex uint64
	}
	Checks []struct {
		CheckID string
		Status  string
	}
}

// member is an instance with its location in Consul: datacenter, node and ID form the key of an
// entry. created is the raft index of its creation.
type member struct {
	discovery.Instance
	node    string
	dc      string
	created uint64
}

// sort classifies entries.
type sort uint8

const (
	ours      sort = iota // an instance to deliver
	foreign               // not from link, or of another service or namespace
	out                   // from link, but not healthy
	malformed             // from link, but invalid; the reason says why
)

// decode converts an entry to an instance of q, valid and normalized.
func (e *entry) decode(q discovery.Query) (m member, s sort, reason string) {
	meta := e.Service.Meta
	if meta[metaProto] == "" || e.Service.Service != q.Service {
		return member{}, foreign, ""
	}
	namespace := meta[metaNamespace]
	if namespace == "" {
		namespace = discovery.DefaultNamespace
	}
	if namespace != q.Namespace {
		return member{}, foreign, ""
	}
	if meta[metaProto] != protocol {
		return member{}, malformed, "speaks link/" + meta[metaProto] + ", this version speaks link/" + protocol
	}
	weight, status, healthy := e.health()
	if !healthy {
		return member{}, out, ""
	}
	host := e.Service.Address
	if host == "" {
		host = e.Node.Address
	}
	in := discovery.Instance{
		ID:        e.Service.ID,
		Service:   e.Service.Service,
		Namespace: namespace,
		Addr:      net.JoinHostPort(host, strconv.Itoa(e.Service.Port)),
		Tags:      slices.DeleteFunc(slices.Clone(e.Service.Tags), func(tag string) bool { return strings.HasPrefix(tag, tagNamespace) }),
		Weight:    weight,
		Status:    status,
	}
	if text := meta[metaStarted]; text != "" {
		started, err := time.Parse(startedFormat, text)
		if err != nil {
			return member{}, malformed, metaStarted + " is not a time"
		}
		in.Started = started
	}
	for key, value := range meta {
		if !strings.HasPrefix(key, metaPrefix) {
			if in.Meta == nil {
				in.Meta = make(map[string]string, len(meta))
			}
			in.Meta[key] = value
		}
	}
	if err := in.Validate(); err != nil {
		return member{}, malformed, err.Error()
	}
	in = in.Normalized()
	if e.Node.Datacenter != "" {
		if in.Meta == nil {
			in.Meta = make(map[string]string, 1)
		}
		in.Meta[place.Datacenter] = e.Node.Datacenter
	}
	return member{Instance: in, node: e.Node.Node, dc: e.Node.Datacenter, created: e.Service.CreateIndex}, ours, ""
}

// health sums up the checks of the service and of its node. Maintenance mode, whoever turned it on,
// does not make an instance unhealthy: it still answers but should get no new work.
func (e *entry) health() (weight int, status discovery.Status, healthy bool) {
	weight = e.Service.Weights.Passing
	if w, err := strconv.Atoi(e.Service.Meta[metaWeight]); err == nil {
		weight = w
	}
	if e.Service.Meta[metaStatus] == statusDrain {
		status = discovery.Draining
	}
	for _, c := range e.Checks {
		switch {
		case c.CheckID == api.NodeMaint, strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
			status = discovery.Draining
		case c.Status == api.HealthPassing:
		case c.Status == api.HealthWarning:
			weight = 1
		default:
			return 0, 0, false
		}
	}
	return weight, status, true
}
