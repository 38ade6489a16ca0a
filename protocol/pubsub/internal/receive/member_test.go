package receive

import (
	"errors"
	"fmt"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share/sharetest"
)

// TestOneMemberLeavesOthersTheirShare checks that one publisher leaves others their share of what a
// subscriber keeps of streams that have ended.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-409
	sharetest.Each(t, func(t *testing.T, free bool) { sharetest.Drive(t, unheard(), free) })
}

// unheard returns the bound of what is kept of streams that have ended. Each of the attacker's streams
// has sent 1 MiB.
func unheard() sharetest.Bound {
	pool := NewShared().unheard
	var leave []func()
	var refused error
	keep := func(m sharetest.Member) (drop func(), err error) {
		a := &arrivals{remains: remains{room: pool.Holder(m.Key())}}
		if !a.count(waiterCost) || !a.count(1<<20) {
			a.drop()
			return nil, fmt.Errorf("what %s has sent is not heard: %w", m.Name, link.ResourceExhausted)
		}
		return a.drop, nil
	}
	return sharetest.Bound{
		Used: pool.Used, Limit: pool.Limit, Tries: 1000,
		Take: func(m sharetest.Member) {
			drop, err := keep(m)
			if err != nil {
				refused = err
				return
			}
			leave = append(leave, drop)
		},
		Told: func() bool { return errors.Is(refused, link.ResourceExhausted) },
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				drop, err := keep(m)
				if err != nil {
					return err
				}
				defer drop()
			}
			return nil
		},
		Leave: func() {
			for _, drop := range leave {
				drop()
			}
		},
	}
}
