package pubsub_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestWhoOnlySaysThatItReadsIsStuck has a subscriber take no messages, and every few seconds claim that
// it has read some, or answer messages that it was not sent or has answered before. It expects that the
// subscriber is taken for stuck: messages that it was sent count as progress once.
func TestWhoOnlySaysThatItReadsIsStuck(t *testing.T) { // SEC-391
	const every, elsewhere = 5 * time.Second, 10 * pubsub.StuckTime
	for name, c := range map[string]struct {
		first fields
		say   func(i int) fields
		// The subscriber is believed for a time from least to most.
		least time.Duration
		most  time.Duration
	}{
		"nothing":                         {fields{}, nil, pubsub.StuckTime, pubsub.StuckTime},
		"that it reads":                   {fields{}, func(int) fields { return fields{7: true} }, elsewhere, elsewhere + pubsub.StuckTime},
		"how many it has read":            {fields{}, func(i int) fields { return fields{7: true, 9: i} }, elsewhere, elsewhere + 2*pubsub.StuckTime},
		"that it has read what it cannot": {fields{}, func(int) fields { return fields{7: true, 9: 1 << 30} }, elsewhere, elsewhere + pubsub.StuckTime},
		"credit without end":              {fields{9: "g"}, func(int) fields { return fields{5: 1 << 20} }, pubsub.StuckTime, pubsub.StuckTime},
		"credit for what it was sent":     {fields{9: "g"}, func(int) fields { return fields{5: 1} }, pubsub.StuckTime, 2 * pubsub.StuckTime},
		"the same ack":                    {fields{3: 3}, func(int) fields { return fields{1: []uint64{1, 1}} }, pubsub.StuckTime, pubsub.StuckTime + every},
		"the same nack":                   {fields{3: 3}, func(int) fields { return fields{2: []uint64{1, 1 << 40}, 6: []string{""}} }, pubsub.StuckTime, pubsub.StuckTime + every},
		"the same release":                {fields{3: 3}, func(int) fields { return fields{3: []uint64{1}} }, pubsub.StuckTime, pubsub.StuckTime + every},
		"that it lives":                   {fields{3: 3}, func(int) fields { return fields{4: true} }, pubsub.StuckTime, pubsub.StuckTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				st := raw(t, mesh.Node(link.Config{}))
				c.first[1] = []string{"placed"}
				say(t, st, frameSubscribe, c.first)
				if _, err := st.Recv(); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				// These are more messages than it has credit for.
				for i := range 200 {
					if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, 6<<10)), Cents: int64(i)}); err != nil {
						t.Fatal(err)
					}
				}
				ended := make(chan error, 1)
				go func() {
					var err error
					for err == nil {
						_, err = st.Recv()
					}
					ended <- err
				}()
				began := time.Now()
				tick := time.NewTicker(every)
				defer tick.Stop()
				for i := 1; ; i++ {
					select {
					case err := <-ended:
						if took := time.Since(began); !errors.Is(err, link.ResourceExhausted) || took < c.least-every || took > c.most+2*time.Second {
							t.Errorf("it ended after %v with %v, want %v to %v", took, err, c.least, c.most)
						}
						if n := pubsub.StatsOf(node).Published.Stuck; n != 1 {
							t.Errorf("%d subscriptions are counted as stuck", n)
						}
						return
					case <-tick.C:
						if time.Since(began) > time.Hour {
							t.Fatal("it is believed for an hour")
						}
						if c.say != nil {
							body, err := codec.CBOR().Append(nil, c.say(i))
							if err != nil {
								t.Fatal(err)
							}
							// The stream may have ended.
							_ = st.Send(link.Frame{Kind: frameVerdict, Body: body})
						}
					}
				}
			})
		})
	}
}
