package pubsub_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestThoseThatReadSlowlyAreNotCutOff has a subscriber read all the time but take minutes for one
// frame of messages, and expects that it is not disconnected.
func TestThoseThatReadSlowlyAreNotCutOff(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.Reliable, pubsub.AtLeastOnce} {
		for _, pace := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 10 * time.Second} {
			t.Run(class.String()+", "+pace.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
					node, p := publisher(t, mesh, link.Config{})
					other, q := publisher(t, mesh, link.Config{})
					// The messages are more than a stream has credit for.
					n, size := race.Fewer(200, 60), 8<<10
					if pace > time.Second {
						n, size = 14, 100<<10
					}
					s := subscribe(t, mesh.Node(link.Config{}), placed, class, pubsub.Buffer(60_000, 64<<20, 0))
					body := strings.Repeat("x", size)
					for i := range n {
						// While the messages of one publisher are read, the stream of the other is not stuck either.
						for _, p := range []*pubsub.Publisher[order]{p, q} {
							if _, err := p.Publish(t.Context(), order{ID: body, Cents: int64(i)}); err != nil {
								t.Fatal(err)
							}
						}
					}
					next := map[string]int64{}
					for range 2 * n {
						m := take(t, s, 1)[0]
						if m.Gap != nil || m.Value.Cents != next[m.Publisher] || m.Attempt > 1 {
							t.Fatalf("got message %d as delivery %d, gap %+v, want message %d", m.Value.Cents, m.Attempt, m.Gap, next[m.Publisher])
						}
						next[m.Publisher]++
						m.Ack()
						sleep(pace)
					}
					for _, node := range []*link.Node{node, other} {
						if cut := pubsub.StatsOf(node).Published.Stuck; cut > 0 {
							t.Errorf("it was cut off %d times", cut)
						}
					}
				})
			})
		}
	}
}

// TestNothingWaitsByAClockThatCanBeSet looks for times that lose their monotonic clock reading,
// which makes them safe from that: numbers since 1970, and rounded times. UnixMicro is allowed,
// because times on the wire, which others read, are in microseconds.
func TestNothingWaitsByAClockThatCanBeSet(t *testing.T) {
	files := token.NewFileSet()
	for _, folder := range []string{".", "internal/journal"} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			f, err := parser.ParseFile(files, folder+"/"+e.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			seen++
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					switch sel.Sel.Name {
					case "Unix", "UnixNano", "UnixMilli", "Round":
						t.Errorf("%s: %s of a time goes by the clock of the system", files.Position(sel.Pos()), sel.Sel.Name)
					}
				}
				return true
			})
		}
		if seen == 0 {
			t.Errorf("no source in %s", folder)
		}
	}
}
