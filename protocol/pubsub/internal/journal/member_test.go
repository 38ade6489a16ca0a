//go:build !race

package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share/sharetest"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestOneMemberLeavesOthersTheirShare checks that one subscriber leaves the others their shares of
// Options.Unacked and of Options.Backlog.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-360, 391
	for name, bound := range map[string]func(t *testing.T) sharetest.Bound{"unacked": unacked, "backlogs": backlogs} {
		t.Run(name, func(t *testing.T) {
			sharetest.Each(t, func(t *testing.T, free bool) { sharetest.Drive(t, bound(t), free) })
		})
	}
}

// unacked returns the bound of Options.Unacked. The attacker acks nothing, and each of the others
// needs a whole window of the default size.
func unacked(t *testing.T) sharetest.Bound {
	const limit = 64 << 20
	now := start()
	l := newLog(t, journal.Options{Unacked: limit})
	var all []*stream
	window := func(m sharetest.Member, bytes int) *stream {
		s := subscribe(t, l, now, journal.Subscription{
			Class: journal.AtLeastOnce, ID: fmt.Sprint(len(all)), Who: m.Key(), Limits: journal.Limits{Bytes: bytes},
		})
		for range 900 {
			publish(t, l, now, journal.Message{Topic: "t", Payload: make([]byte, 16<<10)})
		}
		for more := true; more; {
			var err error
			if _, _, more, err = s.Fill(nil, 1<<20, 1024, now); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	return sharetest.Bound{
		Used:  func() int64 { return int64(l.Stats().Unacked) },
		Limit: func() int64 { return limit },
		Tries: 8,
		Take:  func(m sharetest.Member) { all = append(all, window(m, journal.MaxWindowBytes)) },
		Told:  func() bool { return l.Stats().Throttled > 0 },
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				s := window(m, journal.DefaultWindowBytes)
				got := s.Stats(now).UnackedBytes
				s.Close(now)
				if got < journal.DefaultWindowBytes-(17<<10) {
					return fmt.Errorf("%s has %d bytes, want its window of %d", m.Name, got, journal.DefaultWindowBytes)
				}
			}
			return nil
		},
		Leave: func() {
			for _, s := range all {
				s.Close(now)
			}
		},
	}
}

// backlogs returns the bound of Options.Backlog. The attacker reads nothing, and each of the others
// needs room for all messages that it is behind.
func backlogs(t *testing.T) sharetest.Bound {
	const limit, messages = 1 << 20, 2000
	now := start()
	l := newLog(t, journal.Options{Backlog: limit})
	var all []*stream
	behind := func(m sharetest.Member, most int) *stream {
		s := subscribe(t, l, now, journal.Subscription{Who: m.Key(), Limits: journal.Limits{Messages: most, Bytes: 1 << 30, Age: time.Hour}})
		for range messages {
			publish(t, l, now, journal.Message{Topic: "t"})
		}
		return s
	}
	return sharetest.Bound{
		Used:  func() int64 { return int64(l.Stats().Backlog) },
		Limit: func() int64 { return limit },
		Tries: 24,
		Take:  func(m sharetest.Member) { all = append(all, behind(m, journal.MaxBacklog)) },
		Told:  func() bool { return l.Stats().Crowded > 0 },
		Use: func(others []sharetest.Member) error {
			for _, m := range others {
				s := behind(m, messages)
				came, missing := account(t, s, now)
				s.Close(now)
				if came != messages || missing != 0 {
					return fmt.Errorf("%s gets %d messages, and %d are missing, of %d", m.Name, came, missing, messages)
				}
			}
			return nil
		},
		Leave: func() {
			for _, s := range all {
				s.Close(now)
			}
		},
	}
}
