// Package topology is what users write and read about routing: the document that says which instances
// of a service a caller may reach, in what order and in what shares, and the explanation of a choice.
//
// # Overview
//
// A [Document] is the policy as written, in YAML or as the same structs in Go. A node takes it from
// link.Config.Routing.TopologyFile, from its registry and from link.Config.Routing.Topology. It compiles all of them to
// one immutable table of plans: the levels of instances that a call tries, in order, and how it chooses
// among them. The table is internal/policy. An [Explanation] is what link's Node.Explain returns: where a
// call would go now, and for each instance why it may or may not get the call.
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
//	    fault: { delay: 200ms, percent: 1 }      # refused unless Config.Routing.AllowFaults
//	defaults: { timeout: 5s, retry: { attempts: 2, budget: 20%, on: [unavailable] }, zone_aware: true }
//
//	doc, err := topology.Parse("topology.yaml", data)
//	node, err := link.New(link.Config{Service: "shop", Routing: link.Routing{Topology: doc}})
//	explanation, err := node.Explain(ctx, GetOrder.Route())
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
// A key decides a split, if there is one: that of link.Sticky, or else the metadata that the route's
// "sticky" names. Each target scores -share/ln(u), with u in (0, 1) a hash of key, service and
// target, and the highest score wins: rendezvous hashing (Thaler and Ravishankar, 1998) with the
// weights of Schindelhauer and Schomaker ("Weighted Distributed Hash Tables", 2005). The choice is
// therefore the same in every process and after every reload, in whatever order the rules are. A key
// moves from one target to another only if the share of the latter has grown in proportion to the
// share of the former: with two targets, growing the canary moves no key out of it. Without a key,
// chance decides.
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
//
// Targets and failovers lead from service to service. A cycle is an error, and so is a chain of more
// than 8 services or a total of more than 64 levels. Mirrors do not chain: a copy
// of a call is not mirrored again.
//
// # Layers
//
// Documents are merged; later ones override earlier ones, a service's whole entry at a time and the
// defaults field by field. The file comes first, then the registry, then link.Config.Routing.Topology. Others can
// write to a registry, so its documents may send calls to another service only if
// link.Config.Routing.AllowRedirect names that service, because the identity a caller expects follows from the
// service's name. Their mirrors copy only calls of read-only methods. Their timeouts, retries, ejection and
// load-balancing settings are forced into these bounds, and the node logs what was changed:
//
//	timeouts          100ms to 1m
//	retry             attempts 2 to 3, budget 5% to 20%, on unavailable and others
//	outlier           errors 2 to 100, interval 1s to 5m, eject 1s to 5m, max 10% to 50%
//	lb                panic 10% to 50%, slow_start up to 5m, subset 2 or more
//
// # Limits
//
// What exceeds one of these limits is an error:
//
//	document          1048576 bytes, nested 16 levels deep
//	services          4096, in all documents together
//	service           64 subsets, 256 routes
//	failover          16 entries
//	split             16 targets, with shares that add up to 100
//	match             16 callers, 64 pairs
//	subset            64 tags and pairs
//	names             255 bytes, of services, subsets and tags, of keys and patterns too
//	values            512 bytes
//	timeouts          24h, delays and intervals too
//	retry             5 attempts
//	lb                subset 10000
//	chain             8 services, one behind another
//	call              64 levels, those of other services included
//	errors            20 problems of a document; further ones are counted
//
// # Defaults
//
//	lb                policy p2c, zone_aware true, panic 50%, slow_start 30s, subset 20
//	outlier           errors 5, interval 10s, eject 30s, max 10%
//
// # Guarantees
//
// Parsing is strict: unknown and repeated keys, aliases, missing subsets, shares that do not add up
// and routes that can never match are errors. All of them are reported, with line and column.
// A document that is not valid changes nothing: what was in force stays in force.
//
// # Concurrency
//
// A Document is plain data: it may be read concurrently, and link never modifies it. An Explanation
// belongs to its caller.
//
// # Errors
//
// Each problem is a [*FieldError] that names file, line and field; several are joined. Test for the
// kind with errors.Is: [ErrInvalid], [ErrLimit], [ErrRefused].
//
// # Testing
//
// [Parse] finds what is wrong with a document. Node.Explain shows what a document does; in a mesh of
// package linktest it needs no network.
package topology

import (
	"reflect"
	"time"
)

// currentVersion is the document version that this package reads.
const currentVersion = "link/v1"

// Document is the policy as written. The zero value allows every instance of every service.
//
// In all structs of a document a zero field means not set, so that the default applies. A setting
// that can be switched off is switched off with [Off].
type Document struct {
	// Version is "link/v1". Documents made in Go may leave it empty.
	Version string

	// Services holds the rules for calls to each service, by its name. At most 4096.
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
	// Timeout applies to calls whose context has no deadline, before that of their method (link.Timeout). Zero
	// means the method's, else the node's own. At most 24 h.
	Timeout time.Duration
	Retry   Retry

	// ZoneAware is On by default.
	ZoneAware Switch
}
