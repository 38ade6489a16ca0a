// Package sharetest is the test of every bound that all who use a node share: one attacker
// takes all that it gets, by its one name or, where names are free, by many at one address,
// and others find what they need nevertheless.
//
// The table in docs/design.md lists the bounds. Each package that has one of them describes it
// as a [Bound], and [Drive] does the rest, so that the attacker is the same everywhere.
package sharetest

import (
	"fmt"
	"testing"

	"github.com/linkmesh/link/internal/share"
)

// Member is a peer of the node.
type Member struct {
	Name, Addr string
	Advisory   bool // it chose the name
}

// Key is who the member is as shares are counted.
func (m Member) Key() share.Key { return share.KeyOf(m.Name, m.Addr, m.Advisory) }

// Bound is one amount that all share, at a node that nobody uses yet.
type Bound struct {
	Used, Limit func() int64
	// Take has the attacker take more, as much as it gets at once. It is called Tries times.
	Take  func(m Member)
	Tries int
	// Least is what the attacker must get for the test to say anything; 0 is an eighth of the limit.
	Least int64
	// Told reports whether a person could learn what was refused; nil where nothing is refused.
	Told func() bool
	// Use has others take what they need, all at once if that is how they would, and give it back.
	Use    func(others []Member) error
	Others int // 0 is 4
	// Leave has all that the attacker took end.
	Leave func()
}

const (
	attackerName, attackerAddr = "mallory", "10.0.9.9:4242"
	attackerNames              = 64 // where they are free
	slack                      = 20 // what was taken at once may pass a share by a part of this of the limit
)

// Drive has one member attack a bound. Free says that names are free: then it has many.
func Drive(t *testing.T, b Bound, free bool) {
	t.Helper()
	for i := range b.Tries {
		m := Member{Name: attackerName, Addr: attackerAddr, Advisory: free}
		if free {
			m.Name = fmt.Sprint(attackerName, i%attackerNames)
		}
		b.Take(m)
	}
	held, limit := b.Used(), b.Limit()
	least := b.Least
	if least == 0 {
		least = limit / 8
	}
	if most := limit/2 + limit/slack; held > most || held < least {
		t.Errorf("the attacker holds %d of %d, want at most %d, and %d for this test to say anything", held, limit, most, least)
	}
	if b.Told != nil && !b.Told() {
		t.Error("nobody is told that something was refused, or to whom")
	}
	var others []Member
	n := b.Others
	if n == 0 {
		n = 4
	}
	for i := range n {
		others = append(others, Member{Name: fmt.Sprint("web", i), Addr: fmt.Sprintf("10.0.1.%d:4242", i+1), Advisory: free})
	}
	if err := b.Use(others); err != nil {
		t.Errorf("others, while the attacker holds %d of %d: %v", held, limit, err)
	}
	if now := b.Used(); now < held/2 {
		t.Errorf("the attacker had let go before others came: %d of %d are left", now, held)
	}
	b.Leave()
	if now := b.Used(); now != 0 {
		t.Errorf("%d are counted when the attacker is gone", now)
	}
}

// Each runs a test for either kind of names.
func Each(t *testing.T, test func(t *testing.T, free bool)) {
	t.Helper()
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprintf("names free %t", free), func(t *testing.T) { test(t, free) })
	}
}
