package pubsub_test

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

var update = flag.Bool("update", false, "rewrite testdata/wire.txt and the block of docs/wire.md")

const (
	golden   = "testdata/wire.txt"
	wireDocs = "../../docs/wire.md"

	frameSubscribed uint8 = 0x41
	frameRecords    uint8 = 0x42
	frameLast       uint8 = 0x45
	frameTopics     uint8 = 0x46
)

// TestTheWireIsGolden records what a publisher sends to a subscriber made by hand, and
// what a subscriber sends to a publisher made by hand, which repeats those frames. It
// compares the frames with testdata/wire.txt. Times are those of the synctest bubble, and
// random values are replaced.
func TestTheWireIsGolden(t *testing.T) {
	var lines transcript
	var records [][]byte
	synctest.Test(t, func(t *testing.T) { records = publisherSpeaks(t, &lines) })
	synctest.Test(t, func(t *testing.T) { subscriberSpeaks(t, &lines, records) })
	synctest.Test(t, func(t *testing.T) { durableSpeaks(t, &lines) })
	got := lines.String()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the frames are\n%swant those of %s\n%s", got, golden, want)
	}
	page, err := os.ReadFile(wireDocs)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- frames: protocol/pubsub/testdata/wire.txt -->\n```text\n", "```\n"
	before, rest, ok := strings.Cut(string(page), begin)
	shown, after, _ := strings.Cut(rest, end)
	switch {
	case !ok:
		t.Errorf("%s shows no frames of publish/subscribe", wireDocs)
	case *update:
		if err := os.WriteFile(wireDocs, []byte(before+begin+string(want)+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	case shown != string(want):
		t.Errorf("%s shows other frames than %s", wireDocs, golden)
	}
}

// transcript lists frames in hexadecimal, one per line.
type transcript struct{ strings.Builder }

func (l *transcript) note(side, kind string, body []byte) {
	fmt.Fprintf(l, "%-10s  %-10s  %s\n", side, kind, hex.EncodeToString(body))
}

// with returns a body with one field replaced.
func with(t *testing.T, body []byte, key int, value any) []byte {
	t.Helper()
	f := fields{}
	if err := codec.CBOR().Decode(body, &f); err != nil {
		t.Fatal(err)
	}
	f[key] = value
	out, err := codec.CBOR().Append(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const someEpoch = uint64(0x0102030405060708)

func publisherSpeaks(t *testing.T, lines *transcript) (records [][]byte) {
	t.Helper()
	mesh := linktest.NewMesh(t)
	node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: time.Second}})
	publish(t, p, 1, 1, pubsub.Key("k"))
	st := raw(t, mesh.Node(link.Config{}))
	say(t, st, frameSubscribe, fields{1: []string{"placed", "placed.>"}, 3: 3, 5: 1})
	f, err := st.Recv()
	if err != nil || f.Kind != frameSubscribed {
		t.Fatal(f, err)
	}
	lines.note("publisher", "SUBSCRIBED", with(t, f.Body, 1, someEpoch))
	next := func() {
		f, err := st.Recv()
		if err != nil || f.Kind != frameRecords {
			t.Fatal(f, err)
		}
		lines.note("publisher", "RECORDS", f.Body)
		records = append(records, f.Body)
	}
	next()
	publish(t, p, 2, 2, pubsub.Below("eu"), pubsub.Header("h", "v"), pubsub.TTL(time.Minute), pubsub.Priority(7), pubsub.FeedSeq(7))
	next()
	say(t, st, frameVerdict, fields{2: []uint64{2, 1}, 6: []string{"later"}})
	next()
	say(t, st, frameVerdict, fields{1: []uint64{1, 2}})
	topics(t, mesh, node, lines)
	// The subscriber has no room for these messages.
	for i := range 5 {
		if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, 6<<10)), Cents: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	mesh.Stop(node)
	for {
		if f, err = st.Recv(); err != nil {
			t.Fatal(err)
		}
		if f.Kind == frameLast {
			lines.note("publisher", "LAST", f.Body)
			break
		}
	}
	if _, err = st.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after LAST: %v", err)
	}
	return records
}

// topics records the frames about a topic that nobody publishes to, and then about the same topic
// when it has a publisher.
func topics(t *testing.T, mesh *linktest.Mesh, node *link.Node, lines *transcript) {
	t.Helper()
	st := raw(t, mesh.Node(link.Config{}))
	say(t, st, frameSubscribe, fields{1: []string{"plcaed"}})
	next := func() {
		for {
			f, err := st.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if f.Kind == frameTopics {
				lines.note("publisher", "TOPICS", f.Body)
				return
			}
		}
	}
	next()
	if _, err := pubsub.NewPublisher(node, pubsub.NewTopic[order]("orders", "plcaed")); err != nil {
		t.Fatal(err)
	}
	next()
	if err := st.CloseSend(); err != nil {
		t.Error(err)
	}
}

// oneGap is the body of a RECORDS frame with a gap: message 2 of lane 1 is missing because of its TTL.
var oneGap = []byte{3, 5, 1, 2, 2, 2, 1}

// durableSpeaks records a durable subscription that is told of a gap, loses its connection,
// and is forgotten in the end.
func durableSpeaks(t *testing.T, lines *transcript) {
	t.Helper()
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{Service: "orders"})
	lost, forgotten := make(chan struct{}), make(chan struct{})
	again := false
	link.HostOf(node).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(_ context.Context, st *link.Stream) error {
		f, err := st.Recv()
		if err != nil {
			return err
		}
		lines.note("subscriber", "SUBSCRIBE", with(t, f.Body, 21, "a random holder"))
		say(t, st, frameSubscribed, fields{1: someEpoch, 2: 2, 3: again})
		if !again {
			again = true
			if err := st.Send(link.Frame{Kind: frameRecords, Credited: true, Body: oneGap}); err != nil {
				return err
			}
			<-lost
			return link.Errorf(link.Unavailable, "the connection is lost")
		}
		for f, err = st.Recv(); err == nil; f, err = st.Recv() {
			lines.note("subscriber", "VERDICT", f.Body)
			close(forgotten)
		}
		return nil
	})
	mesh.Start(node)
	s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce, pubsub.Durable("audit"))
	if m := take(t, s, 1)[0]; m.Gap == nil {
		t.Errorf("got %+v", m)
	}
	close(lost)
	sleep(time.Second)
	s.Forget()
	<-forgotten
}

func subscriberSpeaks(t *testing.T, lines *transcript, records [][]byte) {
	t.Helper()
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{Service: "orders"})
	judged := make(chan []byte)
	again := false
	asked, lost := make(chan struct{}), make(chan struct{})
	link.HostOf(node).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(_ context.Context, st *link.Stream) error {
		f, err := st.Recv()
		if err != nil {
			return err
		}
		lines.note("subscriber", "SUBSCRIBE", with(t, f.Body, 10, "a random name"))
		if again {
			close(asked)
			<-st.Context().Done()
			return nil
		}
		again = true
		say(t, st, frameSubscribed, fields{1: someEpoch, 2: 2})
		for _, body := range records {
			if err := st.Send(link.Frame{Kind: frameRecords, Credited: true, Body: body}); err != nil {
				return err
			}
		}
		for {
			if f, err = st.Recv(); err != nil {
				return nil //nolint:nilerr // the subscriber has gone
			}
			select {
			case judged <- f.Body:
			case <-lost:
				return link.Errorf(link.Unavailable, "the connection is lost")
			}
		}
	})
	mesh.Start(node)
	s := subscribe(t, mesh.Node(link.Config{}), pubsub.NewTopic[order]("orders", ">"), pubsub.AtLeastOnce, pubsub.FromLast(2), pubsub.Keys("k"), pubsub.Buffer(100, 1<<20, 0))
	verdict := func() { lines.note("subscriber", "VERDICT", <-judged) }
	got := take(t, s, 3)
	got[0].Ack()
	verdict()
	got[2].Nack(pubsub.Retry(3*time.Second, errors.New("no stock")))
	verdict()
	sleep(10 * time.Second)
	// The first of these says that the subscriber reads, and the second that it is alive.
	verdict()
	verdict()
	close(lost)
	// Wait for the SUBSCRIBE on the next connection.
	<-asked
}
