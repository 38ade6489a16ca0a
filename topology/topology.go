// Package topology holds the policy for routing: which instances of a service a caller may reach,
// in what order and in what shares.
//
// # Overview
//
// A [Document] is the policy as written, in YAML or as the same structs in Go. [Compile] checks
// one or more of them and makes a [Policy], an immutable table. A call asks the table for its
// [Plan]: the levels of instances to try, in order, and how to choose among them. This package
// decides and explains; finding instances, weighing their load and calling them are done elsewhere.
//
// With no document at all every instance of a service may be called, chosen by p2c (the better of
// two drawn at random) and near zones first.
//
// # Usage
//
//	version: link/v1
//	services:
//	  orders:
//	    subsets:
//	      stable: { tags: [v1] }                 # all tags and all meta pairs must match
//	      canary: { tags: [v2] }
//	    routes:                                  # the first match wins; the last has no match
//	      - { match: { meta: { x-canary: "1" } }, to: canary }
//	      - { match: { method: orders/export }, to: stable, timeout: 30s }
//	      - { to: { stable: 95, canary: 5 }, sticky: meta:user-id }
//	    failover: [zone, region, subset:stable, service:orders-dr]
//	    lb: { policy: p2c, panic: 50%, slow_start: 30s, subset: 20 }
//	    outlier: { errors: 5, interval: 10s, eject: 30s, max: 10% }
//	    mirror: { to: service:orders-shadow, percent: 1 }
//	    fault: { delay: 200ms, percent: 1 }      # refused unless Options.AllowFaults
//	defaults: { timeout: 5s, retry: { attempts: 2, budget: 20%, on: [unavailable] }, zone_aware: true }
//
//	doc, err := topology.Parse("topology.yaml", data)
//	policy, err := topology.Compile(topology.Options{}, topology.Layer{Origin: "file topology.yaml", Document: doc, Trusted: true})
//	plan := policy.Service("orders").Route(&topology.Request{Kind: "method", Name: "get", Random: rand.Uint64()})
//
// # Routes
//
// A "match" names a method, topic or stage as errors, logs and explanations do: orders/get. In the rules of orders
// the service may be left out. One "*" at the end stands for all names that begin so.
//
// # Targets
//
// What a route's "to" names is the name of a subset, "service:<name>" for another service by that
// service's own routes, or "any" for every instance. A map of these to whole numbers that add up
// to 100 splits the calls. A call that no route matches goes to any.
//
// A split is decided by a key, if there is one: that of the call, else the metadata the route's
// "sticky" names. Each target scores -share/ln(u), with u in (0, 1) a hash of key, service and
// target, and the highest score wins: rendezvous hashing (Thaler and Ravishankar, 1998) with the
// weights of Schindelhauer and Schomaker ("Weighted Distributed Hash Tables", 2005). So the choice is
// the same in every process and after every reload, whatever the order of rules, and a key changes
// from one target to another only if the share of the latter has grown in proportion to the share
// of the former: with two targets, growing the canary moves nobody out of it. Without a key chance
// decides, through Request.Random.
//
// # Failover
//
// A failover list says where a call may go when there is nobody in the level before:
//
//	zone, region, dc   the route's target, in the caller's zone, region or datacenter
//	any                the route's target, everywhere
//	subset:<name>      that subset of the service, everywhere
//	service:<name>     that service, by its own routes
//
// A list that does not begin with zone, region or dc begins with the target everywhere. No call
// goes beyond what its list names: [zone] alone never leaves the zone, and if the caller's zone is
// not known it reaches nobody. No list means the target everywhere. On a route to another service
// the words zone, region, dc and any are left to that service's own list.
//
// A level of zone, region or dc takes min(1, available/total × 1.4) of the calls that reach it; the
// rest spills to the next level that has an available instance (1.4 is Envoy's overprovisioning
// factor). What no later level can take stays with the first that has an available instance. Any
// other level takes everything as long as one of its instances is available. [Level.Takes] is
// this rule; this package only uses it to explain.
//
// Targets and failovers lead from service to service. A circle of them is an error, as is a chain
// of more than [MaxDepth] services and more than [MaxLevels] levels in all. A mirror ends where it
// points: what it sends is not mirrored again.
//
// # Layers
//
// Compile merges documents; later ones override earlier ones, a service's whole entry at a time and
// the defaults field by field. A document from a source that others can write to is a layer that is
// not Trusted: it may send calls to another service only if Options.AllowRedirect names that
// service, because the identity a caller expects follows from the service's name. Its mirrors copy
// only calls of read-only methods, and its timeouts, retries, ejection and settings of balancing hold
// within bounds ([MostTimeout] and those beside it); [Policy.Bounded] says what did not.
//
// # Guarantees
//
// Parsing is strict: unknown and repeated keys, aliases, missing subsets, shares that do not add up
// and routes that can never match are errors, all of them reported, with line and column.
// A Policy never changes. [Plans.Route], [Plan.KeyOf] and [Subset.Matches] allocate nothing.
//
// # Concurrency
//
// Policy, Plans and Plan are immutable and safe for concurrent use. A Document is plain data: it
// may be read concurrently and is never modified or kept by this package.
//
// # Errors
//
// Each problem is a [*FieldError] that names file, line and field; several are joined. Test for the
// kind with errors.Is: [ErrInvalid], [ErrLimit], [ErrRefused]; what Policy.Bounded returns is [ErrBounded].
//
// # Testing
//
// A policy needs no network: compile the document and look at the plans, or let [Explain] say for
// made-up instances why each was or was not chosen.
package topology

import (
	"reflect"
	"time"
)

// Version is the version of the document this package reads.
const Version = "link/v1"

// Document is the policy as written. The zero value says nothing: every instance of every service.
//
// In fields of all structs of a document zero means not said, so that the default holds. Where a
// setting can be switched off, [Off] does it.
type Document struct {
	// Version is "link/v1". Documents made in Go may leave it empty.
	Version string

	// Services holds the rules for calls to each service, by its name. At most MaxServices.
	Services map[string]Service

	// Defaults hold for all services.
	Defaults Defaults

	source *source // where the fields were written, nil for documents made in Go
}

// Equal reports whether d and o say the same, wherever they were read from. It is there for tests
// and to see that a reload changed nothing.
func (d *Document) Equal(o *Document) bool {
	if d == nil || o == nil {
		return d == o
	}
	a, b := *d, *o
	a.source, b.source = nil, nil
	return reflect.DeepEqual(a, b)
}

// Defaults hold for all services, those without an entry included.
type Defaults struct {
	Timeout   time.Duration // for calls whose context has no deadline; 0: the node's own, at most MaxDuration
	Retry     Retry
	ZoneAware Switch // 0 means On
}
