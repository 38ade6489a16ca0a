// Package sharetest tests the bounds that all peers of a node share. One attacker takes as much
// of a bound as it can get, under its one name or, where names are advisory, under many names at
// one address. Others must still get what they need.
//
// docs/design.md lists the bounds. The package that has a bound describes it as a [Bound], and
// [Drive] attacks it, so that the attacker is the same everywhere.
package sharetest

import (
	"fmt"
	"testing"

	"github.com/linkmesh/link/internal/share"
)

// Member is a peer of the node.
type Member struct {
	Name, Addr string
	// Advisory means that the member chose its name.
	Advisory bool
}

// Key returns the key under which shares count the member.
func (m Member) Key() share.Key { return share.KeyOf(m.Name, m.Addr, m.Advisory) }

// Bound is one bound of a node that nobody uses yet.
type Bound struct {
	Used, Limit func() int64
	// Take has the attacker take more of the bound. Drive calls it Tries times.
	Take  func(m Member)
	Tries int
	// Least is how much the attacker must get, or the test shows nothing. Zero means an eighth of the limit.
	Least int64
	// Told reports whether an error, a counter or the log shows what was refused. It is nil if nothing is.
	Told func() bool
	// Use has other members take what they need and give it back.
	Use func(others []Member) error
	// Others is the number of other members. Zero means 4.
	Others int
	// Leave ends everything that the attacker took.
	Leave func()
}

const (
	attackerName, attackerAddr = "mallory", "10.0.9.9:4242"
	// attackerNames is the number of names that the attacker uses where they are advisory.
	attackerNames = 64
	// slack is the part of the limit, 1/20, by which one call of Take may exceed the share.
	slack = 20
)

// Drive has one member attack a bound. If free is set, names are advisory and it uses many of them.
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

// Each runs a test with proven names and with advisory ones.
func Each(t *testing.T, test func(t *testing.T, free bool)) {
	t.Helper()
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprintf("names free %t", free), func(t *testing.T) { test(t, free) })
	}
}
