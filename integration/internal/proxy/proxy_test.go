package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/integration/internal/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = `[{"Service":"orders"}]`

// start returns a proxy and a client for it. The server behind answers /wait only when the client
// goes away.
func start(t *testing.T) (*proxy.Proxy, *http.Client) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("X-Consul-Index", "100")
		if _, err := io.WriteString(w, text); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	t.Cleanup(transport.CloseIdleConnections)
	return proxy.Start(t, server.URL), &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get returns the status, the index header and the body of an answer.
func get(ctx context.Context, c *http.Client, p *proxy.Proxy, path string) (status int, index, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address()+path, http.NoBody)
	if err != nil {
		return 0, "", "", err
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header.Get("X-Consul-Index"), string(b), err
}

func TestWithoutFaultsEverythingPasses(t *testing.T) {
	p, c := start(t)
	status, index, body, err := get(t.Context(), c, p, "/v1/a?index=7&stale")
	if status != 200 || index != "100" || body != text || err != nil {
		t.Errorf("got %d, index %s, %q, %v", status, index, body, err)
	}
	all := p.Requests()
	if len(all) != 1 || all[0].Path != "/v1/a" || !all[0].Blocking() || all[0].Status != 200 || all[0].Fault != "" {
		t.Errorf("recorded %+v", all)
	}
	if p.PeakRate() != 1 || p.Count(proxy.Request.Blocking) != 1 {
		t.Errorf("a rate of %d, %d blocking", p.PeakRate(), p.Count(proxy.Request.Blocking))
	}
	p.Forget()
	if len(p.Requests()) != 0 {
		t.Error("requests are left")
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		fault  proxy.Fault
		status int
		index  string
		check  func(body string, err error) bool
	}{
		{proxy.Status(429), 429, "", func(body string, err error) bool { return err == nil && body == "Too Many Requests" }},
		{proxy.HTML(), 200, "", func(body string, err error) bool { return err == nil && strings.HasPrefix(body, "<!DOCTYPE") }},
		{proxy.Truncate(), 200, "100", func(body string, err error) bool { return err == nil && !json.Valid([]byte(body)) }},
		{proxy.CutOff(), 200, "100", func(_ string, err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{proxy.Drop(), 0, "", func(_ string, err error) bool { return errors.Is(err, io.EOF) }},
		{proxy.Delay(time.Millisecond), 200, "100", func(body string, err error) bool { return err == nil && body == text }},
		{proxy.Empty(), 200, "100", func(body string, err error) bool { return err == nil && body == "[]" }},
		{proxy.FilteredByACLs(), 200, "100", func(body string, err error) bool { return err == nil && body == "[]" }},
		{proxy.IndexBackwards(), 200, "50", func(body string, err error) bool { return err == nil && body == text }},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			p, c := start(t)
			mend := p.Break(proxy.Path("/v1/"), tt.fault)
			status, index, body, err := get(t.Context(), c, p, "/v1/a")
			if status != tt.status || index != tt.index || !tt.check(body, err) {
				t.Errorf("got %d, index %q, %q, %v", status, index, body, err)
			}
			if r := p.Requests()[0]; r.Fault != tt.fault.String() {
				t.Errorf("recorded %+v", r)
			}
			if _, _, body, err := get(t.Context(), c, p, "/elsewhere"); body != text || err != nil {
				t.Errorf("another path: %q, %v", body, err)
			}
			mend()
			mend() // harmless
			if _, _, body, err := get(t.Context(), c, p, "/v1/a"); body != text || err != nil {
				t.Errorf("mended: %q, %v", body, err)
			}
		})
	}
}

func TestAHangEndsWhenItIsMended(t *testing.T) {
	p, c := start(t)
	mend := p.Break(proxy.All(), proxy.Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := get(ctx, c, p, "/v1/a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it answered: %v", err)
	}
	p.Break(proxy.Path("/other"), proxy.Drop()) // leaves the hang as it is
	answered := make(chan error, 1)
	go func() {
		_, _, body, err := get(t.Context(), c, p, "/v1/a")
		if body != text {
			err = errors.Join(err, errors.New("body "+body))
		}
		answered <- err
	}()
	mend()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestAFaultReachesWhatWaits(t *testing.T) {
	p, c := start(t)
	status := make(chan int, 1)
	go func() {
		got, _, _, err := get(t.Context(), c, p, "/wait")
		if err != nil {
			t.Error(err)
		}
		status <- got
	}()
	p.Break(proxy.Path("/wait"), proxy.Status(500))
	if got := <-status; got != 500 {
		t.Errorf("status %d, want 500", got)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	p, c := start(t)
	p.Break(proxy.All(), proxy.Hang())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { _, _, _, _ = get(ctx, c, p, "/v1/a") })
	}
	wait := func(want int) {
		t.Helper()
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for deadline := time.Now().Add(20 * time.Second); ; <-ticker.C {
			open, _ := p.Connections()
			if open == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d connections, want %d", open, want)
			}
		}
	}
	wait(5)
	cancel()
	wg.Wait()
	c.CloseIdleConnections() // one that was not yet asked anything when its request was given up
	wait(0)
	if _, peak := p.Connections(); peak != 5 {
		t.Errorf("a peak of %d", peak)
	}
}

func TestAwaitSeesWhatWasAnsweredAndWhatComes(t *testing.T) {
	p, c := start(t)
	of := func(path string) func(proxy.Request) bool {
		return func(r proxy.Request) bool { return r.Path == path }
	}
	if _, _, _, err := get(t.Context(), c, p, "/v1/a"); err != nil {
		t.Fatal(err)
	}
	p.Await("a", of("/v1/a"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, _, _, err := get(t.Context(), c, p, "/v1/b"); err != nil {
			t.Error(err)
		}
	}()
	if r := p.Await("b", of("/v1/b")); r.Status != http.StatusOK {
		t.Errorf("got %+v", r)
	}
	<-done
}
