// Package topology holds the routing policy: which instances of a service a caller may reach,
// in what order and in what shares.
//
// # Overview
//
// A [Document] is the policy as written, in YAML or as the same structs in Go. [Compile] checks
// one or more documents and makes a [Policy], an immutable table. A call looks up its [Plan] in the
// table: the levels of instances to try, in order, and how to choose among them. This package
// decides and explains; discovery, load balancing and calls are implemented elsewhere.
//
// Without a document every instance of a service may be called, chosen by p2c (the less loaded of
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
// A "match" names a method, topic or stage as errors, logs and explanations do: orders/get. In the routes
// of service orders, the prefix "orders/" may be omitted. A "*" at the end matches every name with the
// prefix before it.
//
// # Targets
//
// A route's "to" is the name of a subset, "service:<name>" for another service, which then applies its
// own routes, or "any" for every instance. A map of targets to whole numbers that add up to 100
// splits the calls. A call that no route matches goes to any.
//
// A key decides a split, if there is one: Request.Key, or else the metadata that the route's
// "sticky" names. Each target scores -share/ln(u), with u in (0, 1) a hash of key, service and
// target, and the highest score wins: rendezvous hashing (Thaler and Ravishankar, 1998) with the
// weights of Schindelhauer and Schomaker ("Weighted Distributed Hash Tables", 2005). The choice is
// therefore the same in every process and after every reload, in whatever order the rules are. A key
// moves from one target to another only if the share of the latter has grown in proportion to the
// share of the former: with two targets, growing the canary moves no key out of it. Without a key,
// Request.Random decides.
//
// # Failover
//
// A failover list says where a call may go when the level before has no available instance:
//
//	zone, region, dc   the route's target, in the caller's zone, region or datacenter
//	any                the route's target, everywhere
//	subset:<name>      that subset of the service, everywhere
//	service:<name>     that service, by its own routes
//
// A list that does not begin with zone, region or dc begins with the target everywhere. No call
// goes beyond its list: [zone] alone never leaves the zone, and if the caller's zone is not known
// it reaches no instance. No list means the target everywhere. On a route to another service the
// words zone, region, dc and any have no effect; that service's own list applies.
//
// A level of zone, region or dc takes min(1, available/total × 1.4) of the calls that reach it; the
// rest spills to the next level that has an available instance (1.4 is Envoy's overprovisioning
// factor). Calls that no later level can take stay with the first level that has an available
// instance. Any other level takes everything as long as one of its instances is available.
// [Level.Takes] implements this rule; this package uses it only to explain.
//
// Targets and failovers lead from service to service. A cycle is an error, and so is a chain of more
// than [MaxDepth] services or a total of more than [MaxLevels] levels. Mirrors do not chain: a copy
// of a call is not mirrored again.
//
// # Layers
//
// Compile merges documents; later ones override earlier ones, a service's whole entry at a time and
// the defaults field by field. A document from a source that others can write to must be an untrusted
// layer: it may send calls to another service only if Options.AllowRedirect names that service,
// because the identity a caller expects follows from the service's name. Its mirrors copy only calls
// of read-only methods. Its timeouts, retries, ejection and load-balancing settings are forced into
// bounds ([MostTimeout] and its neighbors); [Policy.Bounded] lists the settings that were changed.
//
// # Guarantees
//
// Parsing is strict: unknown and repeated keys, aliases, missing subsets, shares that do not add up
// and routes that can never match are errors. All of them are reported, with line and column.
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
// kind with errors.Is: [ErrInvalid], [ErrLimit], [ErrRefused]. Policy.Bounded returns errors of kind
// [ErrBounded].
//
// # Testing
//
// A policy needs no network: compile the document and look at the plans, or use [Explain] with
// made-up instances to see why each was or was not chosen.
package topology

import (
	"reflect"
	"time"
)

// Version is the document version that this package reads.
const Version = "link/v1"

// Document is the policy as written. The zero value allows every instance of every service.
//
// In all structs of a document a zero field means not set, so that the default applies. A setting
// that can be switched off is switched off with [Off].
type Document struct {
	// Version is "link/v1". Documents made in Go may leave it empty.
	Version string

	// Services holds the rules for calls to each service, by its name. At most MaxServices.
	Services map[string]Service

	// Defaults apply to all services.
	Defaults Defaults

	// source records where the fields were written. It is nil for documents made in Go.
	source *source
}

// Equal reports whether d and o have the same content, regardless of their source. It is meant for
// tests and to detect that a reload changed nothing.
func (d *Document) Equal(o *Document) bool {
	if d == nil || o == nil {
		return d == o
	}
	a, b := *d, *o
	a.source, b.source = nil, nil
	return reflect.DeepEqual(a, b)
}

// Defaults apply to all services, including services without an entry.
type Defaults struct {
	// Timeout applies to calls whose context has no deadline. Zero means the node's own. At most MaxDuration.
	Timeout time.Duration
	Retry   Retry

	// ZoneAware is On by default.
	ZoneAware Switch
}
