package flow_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/security"
)

// TestWhoHasBegunAFrameCanEndIt has many streams send frames, and checks that those that have room
// for a whole frame can end it, and that the others begin when these have ended.
func TestWhoHasBegunAFrameCanEndIt(t *testing.T) { // SEC-392
	synctest.Test(t, func(t *testing.T) {
		const frame, streams = 4 << 20, 200
		parts := flow.PartsOf(linktest.NewMesh(t).Node(link.Config{}))
		room := parts.Of(peer(t, "orders", "10.0.0.1:1", false))
		defer room.Release()
		var begun, ended atomic.Int64
		next, given := make(chan struct{}), make(chan struct{})
		for range streams {
			go func() {
				turn := flow.Turn{Parts: parts, Room: room, Size: frame}
				defer turn.End()
				// Only the first Take of a turn takes room.
				for range 2 {
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
		const most = flow.MaxParts / 2 / frame
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
		// The room is used up by something that does not take turns.
		if err := room.Take(flow.MaxParts / 2); err != nil {
			t.Fatal(err)
		}
		late := flow.Turn{Parts: parts, Room: room, Size: frame}
		if close(given); late.Take(given) {
			t.Error("a turn when there is no room, and nobody waits any more")
		}
		time.AfterFunc(time.Minute, func() { room.Give(flow.MaxParts / 2) })
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
