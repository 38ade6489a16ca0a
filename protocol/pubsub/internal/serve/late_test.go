package serve

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestAVerdictThatComesTooLateEndsNoSession has a draining publisher give up its messages while
// a verdict is in flight, and expects that the verdict does not cause an error.
func TestAVerdictThatComesTooLateEndsNoSession(t *testing.T) {
	now := time.Now()
	for name, v := range map[string]*frame.Verdict{
		"ack":     {Acks: []uint64{1, 1}},
		"nack":    {Nacks: []uint64{1, 0}, Causes: []string{"busy"}},
		"release": {Releases: []uint64{1}},
		"alive":   {Alive: true},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := journal.New(journal.Options{Epoch: 1}, now)
			if err != nil {
				t.Fatal(err)
			}
			cursor, err := log.Subscribe(journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{"t"}}, now)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := log.Append(journal.Message{Topic: "t"}, now); err != nil {
				t.Fatal(err)
			}
			if _, n, _, err := cursor.Fill(nil, 1000, 1, now); n != 1 || err != nil {
				t.Fatalf("%d messages, %v", n, err)
			}
			s := &session{cursor: cursor}
			if err := s.apply(&frame.Verdict{Acks: []uint64{2, 2}}); err == nil {
				t.Error("no error for a message that was never sent")
			}
			cursor.GiveUp(now, nil)
			if err := s.apply(v); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}
