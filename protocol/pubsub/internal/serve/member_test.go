package serve

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/share/sharetest"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// taken is what a member has got by calls that are refused when it may have no more.
type taken struct {
	leave []func()
	// err is the error of the last call that was refused.
	err error
}

func (s *taken) add(release func(), err error) {
	if err == nil {
		s.leave = append(s.leave, release)
	} else {
		s.err = err
	}
}

func (s *taken) end() {
	for _, release := range s.leave {
		release()
	}
}

// bound returns a bound from which each call of take takes one. Each of the other members takes some.
func (s *taken) bound(pool *share.Pool, tries, some int, take func(m sharetest.Member, i int) (release func(), err error)) sharetest.Bound {
	n := 0
	return sharetest.Bound{
		Used: pool.Used, Limit: pool.Limit, Tries: tries,
		Take: func(m sharetest.Member) {
			s.add(take(m, n))
			n++
		},
		Told: func() bool { return errors.Is(s.err, link.ResourceExhausted) },
		Use: func(others []sharetest.Member) error {
			var all taken
			defer all.end()
			for _, m := range others {
				for i := range some {
					if all.add(take(m, i)); all.err != nil {
						return fmt.Errorf("%d of %d: %w", i, some, all.err)
					}
				}
			}
			return nil
		},
		Leave: s.end,
	}
}

// TestOneMemberLeavesOthersTheirShare checks that one member leaves others their share of what a
// publisher keeps for its subscribers.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-358, 361, 409, 721
	peer := func(t *testing.T, m sharetest.Member, instance int) link.Peer {
		return peerAt(t, "spiffe://link.test/ns/default/svc/"+m.Name, fmt.Sprint(instance), m.Addr, m.Advisory)
	}
	for name, bound := range map[string]func(t *testing.T) sharetest.Bound{
		"subscriptions": func(t *testing.T) sharetest.Bound {
			h := newTestHub(t)
			return new(taken).bound(h.subscriptions, journal.MaxSubscriptions, MaxSubscriptions, func(m sharetest.Member, i int) (func(), error) {
				return h.admit(peer(t, m, i/MaxSubscriptions))
			})
		},
		"sessions": func(t *testing.T) sharetest.Bound {
			h := newTestHub(t)
			return new(taken).bound(h.kept, journal.MaxSessions, sessionFloor, func(m sharetest.Member, i int) (func(), error) {
				return h.takeSession(peer(t, m, i), false)
			})
		},
		"durable names": func(t *testing.T) sharetest.Bound {
			h := newTestHub(t)
			return new(taken).bound(h.durable, MaxDurable, sessionFloor, func(m sharetest.Member, i int) (func(), error) {
				return h.takeSession(peer(t, m, i), true)
			})
		},
		"dead letters": deadLetters,
	} {
		t.Run(name, func(t *testing.T) {
			sharetest.Each(t, func(t *testing.T, free bool) { sharetest.Drive(t, bound(t), free) })
		})
	}
}

// deadLetters returns the bound of dead letters, which leave when newer messages push them out of the log.
func deadLetters(t *testing.T) sharetest.Bound {
	h := newTestHub(t)
	letter := func(m sharetest.Member, size int) *journal.DeadLetter {
		return &journal.DeadLetter{Who: m.Key(), Message: journal.Message{Topic: "t", Payload: make([]byte, size)}}
	}
	return sharetest.Bound{
		Used: h.dead.pool.Used, Limit: h.dead.pool.Limit, Tries: 16,
		Take:   func(m sharetest.Member) { h.buryOne(letter(m, 1<<20)) },
		Told:   func() bool { return h.dead.lost.Load() > 0 },
		Others: 3,
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				kept := h.dead.kept.Load()
				if h.buryOne(letter(m, 1<<20)); h.dead.kept.Load() != kept+1 {
					return fmt.Errorf("the dead letter of %s is lost", m.Name)
				}
			}
			return nil
		},
		Leave: func() {
			for i := range 2 * journal.DefaultBytes >> 20 {
				if _, err := h.log.Append(journal.Message{Topic: fmt.Sprint("u", i), Payload: make([]byte, 1<<20)}, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			// dig gives back the room of dead letters that have left the log.
			h.dig(letter(sharetest.Member{}, 1)).close()
		},
	}
}
