package pubsub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

const framePart uint8 = 0x44

// record returns a record of a publisher made by hand.
func record(kind byte, body ...byte) []byte { return append([]byte{kind, byte(len(body))}, body...) }

// TestHostilePublishers has a subscription read a hostile publisher and an honest one, and expects
// that all messages of the honest one arrive in order, and that memory stays bounded.
func TestHostilePublishers(t *testing.T) {
	records := func(body ...byte) link.Frame { return link.Frame{Kind: frameRecords, Credited: true, Body: body} }
	topic := record(1, append([]byte{0}, "placed"...)...)
	for name, send := range map[string]func(st *link.Stream) error{
		"says nothing":           func(st *link.Stream) error { <-st.Context().Done(); return nil },
		"a record that is short": func(st *link.Stream) error { return st.Send(records(2, 40, 1)) },
		"a topic never said":     func(st *link.Stream) error { return st.Send(records(record(2, 0, 1, 3, 1, 0xa0)...)) },
		"a number beyond topics": func(st *link.Stream) error {
			return st.Send(records(record(1, append([]byte{0xbf, 0xff, 0xff, 0xff}, "placed"...)...)...))
		},
		"a reserved topic": func(st *link.Stream) error {
			return st.Send(records(append(record(1, append([]byte{0}, "_link.dead.own.placed"...)...), record(2, 0, 1, 0, 1, 0xa0)...)...))
		},
		"an impossible gap": func(st *link.Stream) error { return st.Send(records(record(3, 0, 1, 9, 3, 1)...)) },
		"a gap of a lane that is not": func(st *link.Stream) error {
			return st.Send(records(record(3, 200, 1, 1, 3, 1)...))
		},
		"number zero": func(st *link.Stream) error {
			return st.Send(records(append(topic, record(2, 0, 0, 0, 1, 0xa0)...)...))
		},
		"an answer after the answer": func(st *link.Stream) error {
			say(t, st, frameSubscribed, fields{1: 99, 2: uint64(1 << 40)})
			return nil
		},
		"parts without an end": func(st *link.Stream) error {
			for {
				if err := st.Send(link.Frame{Kind: framePart, Credited: true, Body: make([]byte, 32<<10)}); err != nil {
					return err
				}
			}
		},
		"records without credit": func(st *link.Stream) error {
			for range 100_000 {
				if err := st.Send(link.Frame{Kind: frameRecords, Body: make([]byte, 32<<10)}); err != nil {
					return err
				}
			}
			return nil
		},
		"kinds that are not": func(st *link.Stream) error {
			for range 100 {
				if err := st.Send(link.Frame{Kind: 0x7f, Body: []byte("?")}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				_, p := publisher(t, mesh, link.Config{})
				hostile := mesh.Node(link.Config{Service: "orders"})
				link.HostOf(hostile).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(_ context.Context, st *link.Stream) error {
					if _, err := st.Recv(); err != nil {
						return err
					}
					if name != "says nothing" {
						say(t, st, frameSubscribed, fields{1: 7, 2: 1})
					}
					err := send(st)
					sleep(time.Second)
					return err
				})
				mesh.Start(hostile)
				s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce)
				before := heap()
				go func() {
					for i := 1; i <= 15; i++ {
						sleep(time.Second)
						publish(t, p, i, i)
					}
				}()
				next := uint64(1)
				for m := range s.Messages() {
					m.Ack()
					if m.Publisher == hostile.Instance() {
						// A publisher may send anything in its own name.
						continue
					}
					if m.Gap != nil || m.Seq != next {
						t.Fatalf("message %d is %+v, %+v", next, m, m.Gap)
					}
					if next++; next > 15 {
						break
					}
				}
				if grown := heap() - before; grown > 32<<20 {
					t.Errorf("the subscriber grew by %d MiB", grown>>20)
				}
			})
		})
	}
}
