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
	"github.com/linkmesh/link/internal/bounds"
)

// readRule is the ACL rule that is needed to find instances.
const readRule = `service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }`

// mode is the way in which a query is made.
type mode uint8

const (
	// plain does not wait and goes to the servers. Only such an answer tells whether ACLs have
	// filtered it and whether there is a leader (agent/http.go; streaming omits the former and always
	// reports that there is no leader).
	plain mode = iota

	// blocking waits in the agent for a change.
	blocking

	// cached does not wait. The agent answers from its cache, in which it keeps recently requested
	// data up to date.
	cached
)

// backendStreaming is a value of the X-Consul-Query-Backend header.
const backendStreaming = "streaming"

// waitMost and waitLeast bound the wait of a blocking query. The agent adds up to a sixteenth
// (api-docs/features/blocking).
const (
	waitMost  = 55 * time.Second
	waitLeast = 50 * time.Second
)

// question is one query to an endpoint that supports blocking queries.
type question struct {
	dc    string
	index uint64
	wait  time.Duration
	mode  mode
}

// options returns q as options of the api package, and the time limit for its answer.
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

// where names the datacenter for messages. It returns "" for the agent's own.
func (q question) where() string {
	if q.dc == "" {
		return ""
	}
	return " in datacenter " + q.dc
}

// position is the metadata in the headers of an answer.
type position struct {
	index      uint64
	backend    string
	leaderless bool
	hidden     bool
}

// positionOf parses the headers. It returns false if there is no index: Consul always sends one.
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

// answer is the state of one service in one datacenter according to Consul.
type answer struct {
	position

	// members is sorted and has at most bounds.MaxInstances entries.
	members []member

	// foreign counts the entries that link did not register.
	foreign int

	// bad counts the malformed entries. reason says what is wrong with the first one.
	bad    int
	reason string

	// over counts the members beyond bounds.MaxInstances.
	over int

	// open means that the answer is empty, possibly because the token is missing.
	open bool
}

// ask queries service q. If there are too many members, those in known are kept first.
func (c *client) ask(ctx context.Context, q discovery.Query, ask question, known []member) (answer, error) {
	var raw []json.RawMessage
	p := errand{what: "look up " + q.String() + ask.where(), needs: readRule, limit: maxAnswer}
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

// query gets a path of the API and decodes the answer into the value that into returns for each try.
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

// open reports whether an answer with this number of entries may be empty because the token is
// missing.
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

// cut limits members to bounds.MaxInstances. Known members are kept first, so that a flood of
// registrations cannot push them out.
func (a *answer) cut(known []member) {
	a.over = len(a.members) - bounds.MaxInstances
	if a.over <= 0 {
		a.over = 0
		return
	}
	kept := make([]member, 0, bounds.MaxInstances)
	for _, wanted := range []bool{true, false} {
		for _, m := range a.members {
			_, old := slices.BinarySearchFunc(known, m, compareMembers)
			if old == wanted && len(kept) < bounds.MaxInstances {
				kept = append(kept, m)
			}
		}
	}
	slices.SortFunc(kept, compareMembers)
	a.members = kept
}

// fetchPolicy returns the document at key, or nil if there is none.
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
	case len(pair.Value) > bounds.MaxPolicy:
		reason := "the document has " + strconv.Itoa(len(pair.Value)) + " bytes, want at most " + strconv.Itoa(bounds.MaxPolicy)
		return nil, position{}, &failure{kind: garbled, what: p.what, reason: reason}
	case pair.Value == nil:
		return []byte{}, pos, nil
	}
	return pair.Value, pos, nil
}
