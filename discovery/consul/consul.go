// Package consul is a discovery registry in a Consul cluster, reached through the agent on this host.
//
// # Overview
//
// Each instance is a Consul service with a TTL check, which passes while its process sends
// heartbeats. Tags are Consul's tags, readable in its UI. Data of link itself is in meta pairs that
// begin with "link-" and never appear in an Instance. Instances are followed with blocking queries;
// services that were not registered by link are left out. Services are found by tag in the catalog.
//
// # Usage
//
//	registry, err := consul.New(consul.Config{}) // CONSUL_HTTP_ADDR etc., or 127.0.0.1:8500
//	defer registry.Close()
//
// The token needs service "<name>" { policy = "write" } to announce a service, service_prefix ""
// and node_prefix "" { policy = "read" } to find others. A service identity grants these. For
// routing policies it also needs
//
//	key_prefix "link/topology/" { policy = "read" }
//
// Without it, instances are still announced and found, but Consul answers 403 to every policy
// query. [Registry.WatchPolicy] then yields the document that [Config.StateDir] holds from an
// earlier run, or no document, marked Stale with this rule in its Reason, and one line is logged
// for each service.
//
// # Guarantees
//
// A failing registry never empties a set. Errors, unusable answers (429, HTML, truncated JSON) and
// answers that ACLs have filtered leave the last known instances in place, marked Stale with a
// reason. An answer that lacks known instances is doubtful if it comes from a cluster without a
// leader, if the index went backwards, or if the agent was just unreachable. It is accepted once it
// has lasted for 30 s. All other answers are delivered at once. The last known instances are
// also kept on disk, for a start without Consul; see [Config.StateDir].
//
// The same holds for policies: one that was known, now or in an earlier run of the last 90 days,
// stays in force until a healthy Consul reports that it has changed or was deleted.
//
// Each datacenter is followed separately, so one that fails freezes only its own instances.
//
// A registration that the agent has forgotten is restored within 15 s of the agent's return. A
// process that dies without closing is gone 15 s after its last heartbeat.
//
// IDs: the agent keeps one service per ID and the last writer wins; there is no compare-and-set.
// Register therefore looks up the ID before and after it writes, which rejects every ID that is in
// use and detects all but the closest races. An entry that this Registry wrote is recognized as its
// own, even if a failing agent applies it after Register has given up. If two registrations win a
// race, the one that was overwritten notices at its next heartbeat: it logs an error, stops its
// heartbeats, returns ErrDuplicateID from Update, and announces itself again when the ID is free.
// Do not use IDs that differ only in case: Consul's servers treat them as equal. Agents do not know
// the IDs of other agents. Instances with one ID on several agents are all delivered: the oldest
// under its ID, the others with a suffix made from the node's name.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Registry owns one goroutine per registration, one per
// watched service or tag and datacenter, one per watched policy and one that writes files. Close
// waits for them. An unused Registry has no goroutines.
//
// At most 24 watches of services, tags and policies use blocking queries at a time. The
// others poll every 5 s over a few shared connections, so that 2,000 watched services use 40
// of the 200 connections that an agent allows per client address (http_max_conns_per_client). At
// most 8 of the blocking queries are for policies. Other policies are polled every 15 s, plus or
// minus 20 percent, so that a change is seen within 18 s.
//
// # Limits
//
// An instance sends a heartbeat every 5 s, plus or minus 10 percent, and compares its entry with the
// agent's once a minute. It is out after 15 s without a heartbeat, and the agent removes it after 10 min
// more. Close waits for the agent for 2 s at most.
//
// A Registry has at most 16,384 open registrations, 10,000 watches of policies and 16 datacenters
// beside the agent's own. An answer about one service or tag is at most 32 MiB, and a file of the state
// directory at most 16 MiB.
//
// # Errors
//
// [ErrDenied] and those of package discovery; [New] returns [discovery.ErrInvalidConfig].
// [discovery.ErrUnavailable] means that Consul gave no usable answer: it cannot be reached, is
// overloaded or has an internal error, or the answer is not from Consul. Messages quote Consul's answer
// in one bounded line without the token.
//
// # Testing
//
// The tests against a real agent are in the repository's integration folder.
package consul

import (
	"errors"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/errtext"
	"github.com/linkmesh/link/internal/bounds"
)

var (
	// ErrDenied means that Consul's ACLs forbid the request. The message names the rule that would
	// allow it.
	ErrDenied = errors.New("consul: permission denied")

	// errConfig is wrapped by the errors about a field of Config or a CONSUL_ variable, which name it,
	// and its value unless that is a secret.
	errConfig = errtext.New("consul: invalid config", discovery.ErrInvalidConfig)
)

// Timing of registrations.
const (
	// verifyEvery is how often a registration is compared with the agent's entry.
	verifyEvery = time.Minute

	// deregisterAfter is the time after which the agent removes an instance that is out.
	deregisterAfter = 10 * time.Minute

	// closeTime is the longest that Close waits for the agent.
	closeTime = 2 * time.Second
)

// Limits and timing of watches.
const (
	// maxBlocking is the number of watches of one Registry that use blocking queries.
	maxBlocking = 24

	// pollEvery is the interval between the queries of every further watch, plus or minus 20 percent.
	pollEvery = 5 * time.Second

	// doubtTime is how long a doubtful answer that lacks known instances must last to be accepted.
	doubtTime = 30 * time.Second
)

// Limits of a Registry.
const (
	// maxRegistrations is the maximum number of open registrations of one Registry.
	maxRegistrations = bounds.MaxInstances

	// maxDatacenters is the maximum length of Config.Datacenters.
	maxDatacenters = 16

	// maxAnswer is the maximum size of an answer about one service or tag in bytes. 2,000 instances
	// take about 4 MiB, unless they are large.
	maxAnswer = 32 << 20

	// maxStateFile is the maximum size of a file in the state directory in bytes.
	maxStateFile = 16 << 20
)
