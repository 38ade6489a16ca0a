package consul

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
)

// readRule is the access rule for finding instances.
const readRule = `service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }`

// mode is how a question is asked.
type mode uint8

const (
	// plain does not wait and goes to the servers. Only such an answer says whether access rules
	// have thinned it and whether there is a leader (agent/http.go; streaming leaves out the one
	// and always denies the other).
	plain mode = iota

	// blocking waits in the agent for a change.
	blocking

	// cached does not wait and is answered by the agent itself, which keeps up to date what was
	// asked for lately.
	cached
)

const backendStreaming = "streaming" // X-Consul-Query-Backend

// Waiting time of blocking queries. The agent adds up to a sixteenth (api-docs/features/blocking).
const (
	waitMost  = 55 * time.Second
	waitLeast = 50 * time.Second
)

// question is one query about something that has an index.
type question struct {
	dc    string
	index uint64
	wait  time.Duration
	mode  mode
}

// options returns q for the api package, and how long its answer may take.
func (q question) options(ctx context.Context) (*api.QueryOptions, time.Duration) {
	o := &api.QueryOptions{Datacenter: q.dc, AllowStale: true}
	limit := replyTime
	switch q.mode {
	case plain:
	case blocking:
		o.WaitIndex, o.WaitTime = q.index, q.wait
		limit += q.wait
	case cached:
		o.UseCache = true
	}
	return o.WithContext(ctx), limit
}

// where names the datacenter for messages, unless it is the agent's own.
func (q question) where() string {
	if q.dc == "" {
		return ""
	}
	return " in datacenter " + q.dc
}

// position is what the headers of an answer say about it.
type position struct {
	index      uint64
	backend    string
	leaderless bool
	hidden     bool
}

// positionOf reads the headers. An answer without an index is not from Consul.
func positionOf(x *exchange) (position, bool) {
	index, err := strconv.ParseUint(x.header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return position{}, false
	}
	p := position{
		index:   index,
		backend: x.header.Get("X-Consul-Query-Backend"),
		hidden:  x.header.Get("X-Consul-Results-Filtered-By-ACLs") == "true",
	}
	p.leaderless = p.backend != backendStreaming && x.header.Get("X-Consul-KnownLeader") == "false"
	return p, true
}

// answer is what Consul says about one service in one datacenter.
type answer struct {
	position
	members []member // sorted, at most discovery.MaxInstances
	foreign int      // entries that are not link's
	bad     int      // entries that are broken
	reason  string   // what is wrong with the first broken entry
	over    int      // members beyond the bound
	open    bool     // an empty answer may be due to a missing token
}

// ask asks about service q. Known are the members to keep first if there are too many.
func (c *client) ask(ctx context.Context, q discovery.Query, ask question, known []member) (answer, error) {
	var raw []json.RawMessage
	p := errand{what: "look up " + q.String() + ask.where(), needs: readRule, limit: MaxAnswer}
	x, pos, err := c.query(ctx, p, "/v1/health/service/"+url.PathEscape(q.Service), instanceFilter(q.Normalized().Namespace), ask, func() any {
		raw = nil
		return &raw
	})
	if err != nil {
		return answer{}, err
	}
	if raw == nil {
		return answer{}, &failure{kind: garbled, what: p.what, reason: c.stranger() + "its answer has no list"}
	}
	a := answer{position: pos, open: x.open(len(raw))}
	for _, text := range raw {
		a.add(text, q)
	}
	slices.SortFunc(a.members, compareMembers)
	a.members = slices.CompactFunc(a.members, func(x, y member) bool { return compareMembers(x, y) == 0 })
	a.cut(known)
	return a, nil
}

// query asks for what a path of the catalog has, into what into returns for each try.
func (c *client) query(ctx context.Context, p errand, path, filter string, ask question, into func() any) (*exchange, position, error) {
	_, p.time = ask.options(ctx)
	x, err := c.call(ctx, p, func(ctx context.Context) error {
		o, _ := ask.options(ctx)
		o.Filter = filter
		_, err := c.api.Raw().Query(path, into(), o)
		return err
	})
	if err != nil {
		return x, position{}, err
	}
	pos, ok := positionOf(x)
	if !ok {
		return x, position{}, &failure{kind: garbled, what: p.what, reason: c.stranger() + "its answer has no index"}
	}
	return x, pos, nil
}

// open reports whether an answer with as many entries may be empty due to a missing token.
func (x *exchange) open(entries int) bool {
	return entries == 0 && x.token == "" && x.header.Get("X-Consul-Default-ACL-Policy") == "deny"
}

func (a *answer) add(text json.RawMessage, q discovery.Query) {
	var e entry
	if err := json.Unmarshal(text, &e); err != nil {
		a.refuse("an entry that is not one of Consul")
		return
	}
	m, s, reason := e.decode(q)
	switch s {
	case foreign:
		a.foreign++
	case out:
	case malformed:
		a.refuse(printable(e.Service.ID) + ": " + reason)
	case ours:
		a.members = append(a.members, m)
	}
}

func (a *answer) refuse(reason string) {
	if a.bad == 0 {
		a.reason = reason
	}
	a.bad++
}

// cut keeps to the bound of a snapshot: first those that were there before, so that a flood of
// registrations pushes nobody out.
func (a *answer) cut(known []member) {
	a.over = len(a.members) - discovery.MaxInstances
	if a.over <= 0 {
		a.over = 0
		return
	}
	kept := make([]member, 0, discovery.MaxInstances)
	for _, wanted := range []bool{true, false} {
		for _, m := range a.members {
			_, old := slices.BinarySearchFunc(known, m, compareMembers)
			if old == wanted && len(kept) < discovery.MaxInstances {
				kept = append(kept, m)
			}
		}
	}
	slices.SortFunc(kept, compareMembers)
	a.members = kept
}

// fetchPolicy returns the document at key, nil if there is none.
func (c *client) fetchPolicy(ctx context.Context, key string, ask question) ([]byte, position, error) {
	p := errand{what: "read KV " + key, needs: `key_prefix "` + policyPrefix + `" { policy = "read" }`}
	_, p.time = ask.options(ctx)
	var pair *api.KVPair
	x, err := c.call(ctx, p, func(ctx context.Context) error {
		o, _ := ask.options(ctx)
		var err error
		pair, _, err = c.api.KV().Get(key, o)
		return err
	})
	if err != nil {
		return nil, position{}, err
	}
	pos, ok := positionOf(x)
	switch {
	case !ok:
		return nil, position{}, &failure{kind: garbled, what: p.what, reason: c.stranger() + "its answer has no index"}
	case x.status == http.StatusNotFound:
		return nil, pos, nil
	case pair == nil || pair.Key != key:
		return nil, position{}, &failure{kind: garbled, what: p.what, reason: c.stranger() + "its answer lacks the key"}
	case len(pair.Value) > discovery.MaxPolicy:
		reason := "the document has " + strconv.Itoa(len(pair.Value)) + " bytes, want at most " + strconv.Itoa(discovery.MaxPolicy)
		return nil, position{}, &failure{kind: garbled, what: p.what, reason: reason}
	case pair.Value == nil:
		return []byte{}, pos, nil
	}
	return pair.Value, pos, nil
}
