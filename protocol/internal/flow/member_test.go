package flow_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share/sharetest"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// TestOneMemberLeavesOthersTheirShare checks that one peer leaves the others their shares of what
// a node keeps of frames whose ends have not come.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-394
	sharetest.Each(t, func(t *testing.T, free bool) {
		synctest.Test(t, func(t *testing.T) { sharetest.Drive(t, parts(t), free) })
	})
}

// parts returns the bound of MaxParts. The attacker sends a frame without its end on each of as many
// streams as there may be.
func parts(t *testing.T) sharetest.Bound {
	const frame, part = 4 << 20, 1 << 20
	all := flow.PartsOf(linktest.NewMesh(t).Node(link.Config{}))
	body := make([]byte, part)
	var streams []*flow.Joiner
	var refused error
	send := func(m sharetest.Member) (*flow.Joiner, error) {
		j := &flow.Joiner{Most: frame, Room: all.Of(peer(t, m.Name, m.Addr, m.Advisory))}
		var failed error
		for range frame / part {
			if err := j.Part(body); err != nil {
				failed = err
			}
		}
		return j, failed
	}
	return sharetest.Bound{
		Used: func() (held int64) {
			seen := make(map[string]bool)
			for _, j := range streams {
				// All streams of a peer have the same holder.
				if who := j.Room.Name(); !seen[who] {
					seen[who] = true
					held += j.Room.Held()
				}
			}
			return held
		},
		Limit: func() int64 { return flow.MaxParts },
		Tries: flow.MaxStreams,
		Take: func(m sharetest.Member) {
			j, err := send(m)
			streams = append(streams, j)
			if err != nil {
				refused = err
			}
		},
		Told: func() bool { return errors.Is(refused, link.ResourceExhausted) },
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				j, err := send(m)
				if err == nil && len(j.Whole(nil)) != frame {
					err = errors.New("its frame is not whole")
				}
				j.Drop()
				j.Room.Release()
				if err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
			}
			return nil
		},
		Leave: func() {
			for _, j := range streams {
				j.Drop()
			}
			t.Cleanup(func() {
				for _, j := range streams {
					j.Room.Release()
				}
			})
		},
	}
}
