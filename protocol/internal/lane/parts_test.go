package lane_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/security"
)

// TestPartsWhoseEndNeverComesAreBounded has peers send parts on as many streams as there may
// be. Another one finds room beside them, and all of it is free when the streams have ended.
func TestPartsWhoseEndNeverComesAreBounded(t *testing.T) { // SEC-394
	for name, who := range map[string]func(i int) link.Peer{
		"one name":                      func(int) link.Peer { return peer(t, "mallory", "10.0.0.1:1", false) },
		"many names at one address":     func(i int) link.Peer { return peer(t, fmt.Sprint("mallory-", i), "10.0.0.1:1", true) },
		"one name that anybody may use": func(int) link.Peer { return peer(t, "alice", "10.0.0.1:1", true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parts := lane.PartsOf(linktest.NewMesh(t).Node(link.Config{}))
				const frame, part = 4 << 20, 1 << 20
				held, streams := 0, make([]lane.Joiner, lane.MaxStreams)
				body := make([]byte, part)
				for i := range streams {
					j := &streams[i]
					j.Most, j.Room = frame, parts.Of(who(i))
					for sent := 0; sent < frame; sent += part {
						if err := j.Part(body); err == nil {
							held += part
						} else if !errors.Is(err, link.ResourceExhausted) {
							t.Fatal(err)
						}
					}
				}
				if most := lane.MaxParts / 2; held > most || held < most/2 {
					t.Errorf("they have %d MiB here, want at most %d, and not much less", held>>20, most>>20)
				}
				honest := lane.Joiner{Most: frame, Room: parts.Of(peer(t, "alice", "10.0.0.2:1", true))}
				defer honest.Room.Release()
				if err := honest.Part(make([]byte, frame)); err != nil {
					t.Errorf("another one: %v", err)
				}
				if got := honest.Whole(nil); len(got) != frame || honest.Room.Held() != 0 {
					t.Errorf("its frame has %d bytes; %d are counted still", len(got), honest.Room.Held())
				}
				for i := range streams {
					streams[i].Drop()
				}
				for i := range streams {
					if n := streams[i].Room.Held(); n != 0 {
						t.Fatalf("%d bytes are counted of streams that have ended", n)
					}
					streams[i].Room.Release()
				}
			})
		})
	}
}

// TestWhoHasBegunAFrameCanEndIt: of as many streams as there may be, those that have room for a
// whole frame send it, and the others begin when these have ended.
func TestWhoHasBegunAFrameCanEndIt(t *testing.T) { // SEC-392
	synctest.Test(t, func(t *testing.T) {
		const frame, streams = 4 << 20, 200
		parts := lane.PartsOf(linktest.NewMesh(t).Node(link.Config{}))
		room := parts.Of(peer(t, "orders", "10.0.0.1:1", false))
		defer room.Release()
		var begun, ended atomic.Int64
		next, given := make(chan struct{}), make(chan struct{})
		for range streams {
			go func() {
				turn := lane.Turn{Parts: parts, Room: room, Size: frame}
				defer turn.End()
				for range 2 { // further parts need nothing
					if !turn.Take(given) {
						return
					}
				}
				begun.Add(1)
				<-next
				turn.End()
				ended.Add(1)
			}()
		}
		const most = lane.MaxParts / 2 / frame
		for want := int64(most); want < streams; want += most {
			synctest.Wait()
			if begun.Load() != want || ended.Load() != want-most {
				t.Fatalf("%d frames are begun and %d ended, want %d and %d", begun.Load(), ended.Load(), want, want-most)
			}
			for range most {
				next <- struct{}{}
			}
		}
		close(next)
		synctest.Wait()
		if ended.Load() != streams || room.Held() != 0 {
			t.Errorf("%d of %d frames have ended, and %d bytes are counted still", ended.Load(), streams, room.Held())
		}
		if err := room.Take(lane.MaxParts / 2); err != nil { // by what has no turns
			t.Fatal(err)
		}
		late := lane.Turn{Parts: parts, Room: room, Size: frame}
		if close(given); late.Take(given) {
			t.Error("a turn when there is no room, and nobody waits any more")
		}
		time.AfterFunc(time.Minute, func() { room.Give(lane.MaxParts / 2) })
		if !late.Take(nil) {
			t.Error("no turn when there is room")
		}
		late.End()
	})
}

func peer(t *testing.T, name, addr string, advisory bool) link.Peer {
	t.Helper()
	id, err := security.NewID("mesh.test", "default", name)
	if err != nil {
		t.Fatal(err)
	}
	return link.Peer{Identity: id, Addr: addr, Advisory: advisory}
}
