package pubsub_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// logLines is a log that may be read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestASubscriptionWithoutAPublisherIsSaidOnce(t *testing.T) {
	for name, c := range map[string]struct {
		topic pubsub.Topic[order]
		says  string
	}{
		"a mistyped service":    {pubsub.NewTopic[order]("ordrs", "placed"), `the nearest name there is \"orders\"`},
		"a service without any": {pubsub.NewTopic[order]("users", "placed"), "that are connected has it"},
		"a shared topic":        {pubsub.NewSharedTopic[order]("placed"), "no service is known that publishes to it"},
		"one with a publisher":  {placed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				publisher(t, mesh, link.Config{})
				mesh.Start(mesh.Node(link.Config{Service: "users"}))
				log := &logLines{}
				client := mesh.Node(link.Config{Logger: log.logger()})
				subscribe(t, client, c.topic)
				sleep(4 * time.Second)
				if strings.Contains(log.String(), "no publisher yet") {
					t.Errorf("it is said at once:\n%s", log)
				}
				sleep(time.Minute)
				want := 1
				if c.says == "" {
					want = 0
				}
				if n := strings.Count(log.String(), "no publisher yet"); n != want || !strings.Contains(log.String(), c.says) {
					t.Errorf("said %d times, want %d, with %q:\n%s", n, want, c.says, log)
				}
			})
		})
	}
}

// A deployment that goes through the instances one by one has some that publish and some
// that do not yet: those delay nobody, and nobody warns of them.
func TestAnInstanceWithoutAPublisherDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, first := publisher(t, mesh, link.Config{})
		var without []*link.Node
		for range 3 {
			node := mesh.Node(link.Config{Service: "orders"})
			mesh.Start(node)
			without = append(without, node)
		}
		log := &logLines{}
		client := mesh.Node(link.Config{Logger: log.logger()})
		began := time.Now()
		s := subscribe(t, client, placed)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Subscribe took %v", took)
		}
		publish(t, first, 1, 3)
		take(t, s, 3)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("the messages took %v", took)
		}
		sleep(time.Minute)
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("the log:\n%s", log)
		}
		// What one publishes that begins to is heard from its first message on.
		late, err := pubsub.NewPublisher(without[0], placed)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, late, 1, 2)
		for i, m := range take(t, s, 2) {
			if m.Publisher != without[0].Instance() || m.Value.ID != fmt.Sprint(i+1) {
				t.Errorf("message %d: %+v", i, m)
			}
		}
	})
}

// Nobody waits for the word of a subscription that has ended.
func TestAnIdleSubscriptionEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := pubsub.Subscribe(ctx, mesh.Node(link.Config{}), placed)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}
