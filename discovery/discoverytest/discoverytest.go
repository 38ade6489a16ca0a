// Package discoverytest tests implementations of discovery.Registry against its contract.
//
// # Overview
//
// [Run] tests a registry against everything that package discovery guarantees. A back end calls it
// from one of its tests.
//
// # Usage
//
//	func TestContract(t *testing.T) {
//		discoverytest.Run(t, discoverytest.Backend{
//			Open: func(t *testing.T) discovery.Registry {
//				registry, err := mine.New(…)
//				if err != nil {
//					t.Fatal(err)
//				}
//				return registry
//			},
//		})
//	}
//
// # Guarantees
//
// Each subtest opens its own registry and closes it if it is an io.Closer. Services, IDs and
// namespaces are new each time, so the store behind the registry may hold other data. The tests wait
// for events, never for a fixed time, so a correct registry passes at any speed within
// [Backend.Patience]. Optional interfaces, such as discovery.Finder, are tested if the registry implements
// them.
//
// # Concurrency
//
// Subtests run one after the other, because one of them counts goroutines.
//
// # Errors
//
// A violation fails the subtest that is named after the rule.
//
// # Testing
//
// With [Backend.Bubble] each subtest runs in a testing/synctest bubble. Use it for in-memory registries.
package discoverytest

import (
	"cmp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
)

// defaultPatience is generous, because only failures take that long.
const defaultPatience = 20 * time.Second

// Backend says how to open the registries of a back end and how to test them. Open is required.
type Backend struct {
	// Open returns a new registry. It is called once for each subtest that needs one, and may end it with
	// t.Fatal.
	Open func(t *testing.T) discovery.Registry

	// OpenShared returns two registries that share an external store, such as two agents of one cluster
	// or two processes with one directory. It is called once for each subtest about such registries. Nil
	// leaves these subtests out.
	OpenShared func(t *testing.T) (a, b discovery.Registry)

	// Bubble runs each subtest in a testing/synctest bubble, on virtual time. False is real time.
	Bubble bool

	// Patience is how long an expected event may take. 0 is 20 s.
	Patience time.Duration
}

// Run tests the registries of a back end against the contract, in subtests of t.
func Run(t *testing.T, b Backend) {
	t.Helper()
	if b.Open == nil {
		t.Fatal("discoverytest: Backend.Open is nil; set it to a function that returns a new registry")
	}
	b.Patience = cmp.Or(b.Patience, defaultPatience)
	k := &kit{b}
	cases := []testcase{
		{"a registered instance is seen", seen},
		{"two instances are seen", seenTogether},
		{"an instance arrives normalized and complete", arrivesWhole},
		{"an update is seen under the same ID", updateSeen},
		{"a draining instance stays with its status", drainSeen},
		{"a closed registration is gone", closedGone},
		{"an ID is free again after close", idFreeAgain},
		{"closing a registration twice is harmless", closeTwice},
		{"an update after close is refused", updateAfterClose},
		{"the end of Register's context withdraws nothing", registerContextEnds},

		{"a watch that came first sees what comes", watchFirst},
		{"an unknown service yields an empty snapshot", unknownEmpty},
		{"a slow receiver sees the newest and delays nobody", slowReceiver},
		{"ending a watch closes its channel", cancelCloses},
		{"a thousand ended watches leave nothing behind", cancelLeaksNothing},
		{"namespaces are apart", namespacesApart},
		{"services are apart", servicesApart},
		{"snapshots are sorted", sorted},
		{"delivered snapshots never change", immutable},
		{"the registry keeps its own copy", ownCopy},

		{"a duplicate ID is refused", duplicateRefused},
		{"of many with one ID one wins", duplicateRace},
		{"an invalid instance is refused by field", invalidRefused},
		{"an invalid update is refused and changes nothing", invalidUpdateRefused},
		{"an invalid query is refused", invalidQueryRefused},
		{"an ended context is refused", endedContextRefused},

		{"concurrent register, update and close settle", concurrentUse},
		{"concurrent use of one registration settles", concurrentRegistration},
		{"a closed registry withdraws, ends and refuses", registryCloses},
		{"a describer says where it looks", describes},
	}
	cases = append(cases, findCases()...)
	cases = append(cases, listCases()...)
	if k.OpenShared != nil {
		cases = append(cases,
			testcase{"shared: each handle sees the other's instances", sharedSeen},
			testcase{"shared: an update is seen by the other handle", sharedUpdate},
			testcase{"shared: a late handle sees what was there", sharedLate},
			testcase{"shared: a duplicate ID is refused across handles", sharedDuplicate},
			testcase{"shared: closing one handle leaves the other's instances", sharedClose},
			testcase{"shared: a tag is found by the other handle", sharedFind},
		)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if k.Bubble {
				synctest.Test(t, func(t *testing.T) { c.test(t, k) })
				return
			}
			c.test(t, k)
		})
	}
}

type testcase struct {
	name string
	test func(t *testing.T, k *kit)
}
