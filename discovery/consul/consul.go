// Package consul is a discovery registry kept by a Consul cluster, reached through the agent on this host.
//
// # Overview
//
// Each instance is a service of Consul with a check that lives as long as its process sends a
// heartbeat. Tags are Consul's tags, readable in its UI; facts for machines are meta pairs that
// begin with "link-" and never appear in an Instance. Instances are followed with blocking queries;
// services that were not registered by link are left out. Services are found by tag in the catalog.
//
// # Usage
//
//	registry, err := consul.New(consul.Config{}) // CONSUL_HTTP_ADDR and its kin, or 127.0.0.1:8500
//	defer registry.Close()
//
// The token needs service "<name>" { policy = "write" } to announce a service, service_prefix ""
// and node_prefix "" { policy = "read" } to find others. A service identity gives these. For
// routing policies it also needs
//
//	key_prefix "link/topology/" { policy = "read" }
//
// Without it instances are announced and found all the same, but Consul answers 403 to every
// question about a policy: [Registry.WatchPolicy] then yields what [Config.StateDir] holds of an
// earlier run or no document, marked Stale with this rule in its Reason, and one line is logged
// for each service.
//
// # Guarantees
//
// An ill registry never empties a set. Errors, answers that say nothing (429, HTML, cut JSON)
// and answers that access rules have thinned leave the last known instances in place, marked
// Stale with a reason. An answer that lacks known instances and comes from a cluster without a
// leader, from an index that went backwards or from an agent that was just unreachable is believed
// when it has stood for [DoubtTime]. Otherwise what Consul says is delivered at once. The last
// known instances are also kept on disk, for a start without Consul; see [Config.StateDir].
//
// The same holds for policies: one that was known, now or in an earlier run of the last 90 days,
// stays in force until Consul says in good order that it has changed or gone.
//
// Each datacenter is followed apart, so one that fails freezes only its own instances.
//
// A registration that the agent forgets is back within 15 s after the agent is. A process that
// dies without closing is gone [CheckTTL] after its last heartbeat.
//
// IDs: the agent keeps one service per ID and the last writer wins; there is no compare-and-set.
// Register therefore looks before it writes and again after, which refuses every ID that is in use
// and all but the closest of races. What this Registry wrote itself is never another's, even if an agent that was ill
// applies it after Register has given up. Of two that race through, the one that was overwritten notices
// at its next heartbeat: it says so in the log, stops its heartbeats, returns ErrDuplicateID from
// Update, and announces itself again when the ID is free.
// IDs that differ only in case are one to Consul's servers; do not use them. Different agents do not
// know of each other's IDs. Instances of one ID on several agents are all delivered: the oldest under
// its ID, the others with a suffix made from the node's name.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Registry owns one goroutine per registration, one per
// watched service or tag and datacenter, one per watched policy and one that writes files; Close waits for
// them. A Registry that nobody has used runs nothing.
//
// At most [MaxBlocking] watches, of services, tags and policies, wait in the agent at a time; the others ask every [PollEvery] over
// a few shared connections, so that 2,000 watched services take 40 of the 200 connections that an
// agent allows one address (http_max_conns_per_client). Of those that wait, 8 may be watches of
// policies; the other policies are asked for every 15 s, give or take a fifth, so that a change of
// theirs takes up to 18 s to be seen.
//
// # Errors
//
// [ErrInvalidConfig], [ErrDenied], [ErrUnavailable], which is a [discovery.ErrUnavailable], and
// those of package discovery. Messages quote what Consul says, in one bounded line without the token.
//
// # Testing
//
// The tests against the real agent are in the repository's integration folder.
package consul

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/discovery"
)

var (
	// ErrInvalidConfig says that a field of Config or a CONSUL_ variable is wrong. The message names
	// it, and its value unless that is a secret.
	ErrInvalidConfig = errors.New("consul: invalid config")

	// ErrDenied says that Consul's access rules forbid what was asked. The message names the rule
	// that would allow it.
	ErrDenied = errors.New("consul: permission denied")

	// ErrUnavailable says that Consul gave no usable answer: it cannot be reached, is overloaded, has
	// an error of its own, or what answers is not Consul. Waiting may help. It wraps
	// discovery.ErrUnavailable.
	ErrUnavailable = fmt.Errorf("consul: %w", discovery.ErrUnavailable)
)

// How an instance stays announced.
const (
	CheckTTL        = 15 * time.Second // without a heartbeat for this long, an instance is out
	HeartbeatEvery  = 5 * time.Second  // give or take a tenth
	VerifyEvery     = time.Minute      // how often a registration is compared with what the agent holds
	DeregisterAfter = 10 * time.Minute // when the agent removes an instance that is out
	CloseTime       = 2 * time.Second  // the longest that Close waits for the agent
)

// How instances are followed.
const (
	MaxBlocking = 24               // watches of one Registry that wait in the agent
	PollEvery   = 5 * time.Second  // between the queries of every further watch, give or take a fifth
	DoubtTime   = 30 * time.Second // how long an answer stands that would remove instances, if Consul looks ill
)

// Bounds of a Registry.
const (
	// MaxRegistrations bounds the open registrations of one Registry.
	MaxRegistrations = discovery.MaxInstances

	// MaxDatacenters bounds Config.Datacenters.
	MaxDatacenters = 16

	// MaxAnswer bounds an answer of Consul about one service or tag, in bytes. 2,000 instances take about
	// 4 MiB, unless they are large.
	MaxAnswer = 32 << 20

	// MaxStateFile bounds a file in the state directory, in bytes.
	MaxStateFile = 16 << 20
)
