package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestABroadcastRowComparesEverySystem(t *testing.T) {
	dir := t.TempDir()
	var out, progress bytes.Buffer
	args := []string{"-self", "quic", "-row", "pubsub/1KiB/1to4", "-runs", "1", "-warm", "50ms", "-window", "100ms", "-out", dir}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("run: %v\n%s", err, progress.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	form := regexp.MustCompile(`^pubsub/1KiB/1to4\t([a-z]+)\t\d+\.\d\d\t\d+\.\d\d$`)
	var others []string
	for _, line := range lines {
		if m := form.FindStringSubmatch(line); m != nil {
			others = append(others, m[1])
		} else {
			t.Errorf("line %q does not have the form %s", line, form)
		}
	}
	want := slices.DeleteFunc(namesOf(broadcasters()), func(name string) bool { return name == "quic" })
	if !slices.Equal(others, want) {
		t.Errorf("compared with %v, want %v", others, want)
	}
	saved, err := os.ReadFile(filepath.Join(dir, "absolute.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^pubsub/1KiB/1to4\tquic\t[1-9]\d*\t\d+\t\d+\t0\.00$`).Match(saved) {
		t.Errorf("absolute.tsv has no line for quic with nothing lost:\n%s", saved)
	}
}

func TestAWindowInWhichNothingArrivesIsMadeLonger(t *testing.T) {
	var out, progress bytes.Buffer
	args := []string{"-self", "quic", "-row", "pubsub/64B/1to1", "-runs", "1", "-warm", "0", "-window", "1us"}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("run: %v\n%s", err, progress.String())
	}
	if text := out.String(); text == "" || strings.Contains(text, "Inf") || strings.Contains(text, "NaN") {
		t.Errorf("ratios of nothing:\n%s", text)
	}
}

func TestARowWithoutSelfIsMeasuredAndHasNoRatios(t *testing.T) {
	var out, progress bytes.Buffer
	args := []string{"-self", "grpc", "-row", "pubsub/64B/1to1", "-runs", "1", "-warm", "50ms", "-window", "100ms"}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("run: %v\n%s", err, progress.String())
	}
	if out.Len() > 0 {
		t.Errorf("printed ratios %q of a peer that was not measured", out.String())
	}
	if text := progress.String(); strings.Count(text, "deliveries/s") != len(broadcasters()) {
		t.Errorf("progress has not one line per system:\n%s", text)
	}
}

func TestSelfIsAPeerOfSomeRow(t *testing.T) {
	for _, name := range []string{"link", "nats", "grpc"} {
		if err := checkSelf(name); err != nil {
			t.Errorf("checkSelf(%q): %v", name, err)
		}
	}
	if err := checkSelf("smoke"); err == nil || !strings.Contains(err.Error(), "mangos") {
		t.Errorf("checkSelf of an unknown name: %v, want the names there are", err)
	}
}

// newTestMaterial makes credentials that are removed when the test ends.
func newTestMaterial(t *testing.T) material {
	t.Helper()
	m, err := newMaterial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.remove)
	return m
}

// serveTopics starts the broker and publisher of a system; both end with the test.
func serveTopics(t *testing.T, system broadcaster, m material) publisher {
	t.Helper()
	addr := ""
	if b, ok := system.(brokered); ok {
		ctx, stop := context.WithCancel(context.Background())
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- b.broker(ctx, m, func(addr string) { ready <- addr }) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Errorf("broker: %v", err)
			}
		})
		select {
		case addr = <-ready:
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		}
	}
	p, err := system.publisher(t.Context(), m, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.close() })
	return p
}

// joins reports whether a subscriber with the credentials m can subscribe to p
// and gets a message, within patience.
func joins(t *testing.T, system broadcaster, p publisher, m material, patience time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	in := &inbox{size: messageMin}
	sub, err := system.subscribe(ctx, m, p.addr(), in)
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = sub.close() })
	if p.await(ctx, 1) != nil {
		return false
	}
	if err := errors.Join(p.publish(ctx, make([]byte, messageMin)), p.flush(ctx)); err != nil {
		t.Fatal(err)
	}
	took, err := inboxes{in}.settle(ctx, 1)
	if err != nil || len(took) != 0 {
		t.Fatalf("settle: %v, %v", took, err)
	}
	return in.received.Load() == 1
}

func TestSystemsVerifyBothSides(t *testing.T) {
	good, other := newTestMaterial(t), newTestMaterial(t)
	for _, system := range broadcasters() {
		t.Run(system.name(), func(t *testing.T) {
			// stranger trusts the right CA, but its certificate is from another one.
			stranger := material{t.TempDir()}
			for to, from := range map[string]string{
				stranger.caFile():             good.caFile(),
				stranger.certFile(clientSide): other.certFile(clientSide),
				stranger.keyFile(clientSide):  other.keyFile(clientSide),
			} {
				b, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, tt := range []struct {
				who      string
				m        material
				patience time.Duration
				want     bool
			}{
				{"a subscriber of the same CA", good, callTimeout, true},
				{"a subscriber that trusts another CA", other, time.Second, false},
				{"a subscriber with a certificate of another CA", stranger, time.Second, false},
			} {
				if got := joins(t, system, serveTopics(t, system, good), tt.m, tt.patience); got != tt.want {
					t.Errorf("%s joined: %t, want %t", tt.who, got, tt.want)
				}
			}
		})
	}
}

func TestSubscribersAreSharedAmongProcesses(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want []int
	}{{1, []int{1}}, {4, []int{1, 1, 1, 1}}, {6, []int{2, 2, 1, 1}}, {32, []int{8, 8, 8, 8}}} {
		if got := split(tt.n, subscriberProcesses); !slices.Equal(got, tt.want) {
			t.Errorf("split(%d) = %v, want %v", tt.n, got, tt.want)
		}
	}
}

func TestPacedMessagesAreFew(t *testing.T) {
	for _, tt := range []struct{ size, subs, want int }{
		{64, 1, 500},
		{64, 32, 250},
		{64 << 10, 4, 256},
		{64 << 10, 32, 32},
		{1 << 30, 32, 1},
	} {
		if got := paced(tt.size, tt.subs); got != tt.want {
			t.Errorf("paced(%d, %d) = %d, want %d", tt.size, tt.subs, got, tt.want)
		}
	}
}
