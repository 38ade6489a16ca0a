package fleet_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/internal/fleet"
)

// ship is a member of the fleets of these tests.
type ship struct {
	fleet.Life

	attempts atomic.Int64
}

// port is the owner of a fleet whose streams are opened and ended by a test. It notes what the fleet
// does, as words such as "return a".
type port struct {
	*fleet.Fleet[*ship]

	t      *testing.T
	cancel context.CancelFunc
	// streams has a channel for each stream that is open, by the ID of the instance. The error that is
	// sent on it ends the stream.
	streams map[string]chan error
	// open is called instead of waiting for an error on the channel, if it is not nil.
	open func(ctx context.Context, m *ship) error
	// judge decides about a stream; nil means the zero verdict.
	judge func(m *ship, err error, failures int) fleet.Verdict
	// stays is set if members do not leave when their instances have vanished.
	stays bool

	mu sync.Mutex
	// locked is set while the fleet, or a function of the test, holds mu.
	locked bool
	log    []string
	ends   map[string]fleet.End
}

// Lock and Unlock make a port the lock of its fleet.
func (p *port) Lock() {
	p.mu.Lock()
	p.locked = true
}

func (p *port) Unlock() {
	p.locked = false
	p.mu.Unlock()
}

// newPort returns a port whose fleet ends with the test, at the latest.
func newPort(t *testing.T) *port {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &port{t: t, cancel: cancel, streams: make(map[string]chan error), ends: make(map[string]fleet.End)}
	p.Fleet = fleet.New(ctx, fleet.Config[*ship]{
		Lock: p, Attend: p.attend,
		Judge: func(m *ship, err error, failures int) fleet.Verdict {
			if p.judge == nil {
				return fleet.Verdict{}
			}
			return p.judge(m, err, failures)
		},
		Vanish: func(m *ship) bool { p.note("vanish", m); return !p.stays },
		Return: func(m *ship) { p.note("return", m) },
		Part:   func(m *ship) { p.note("part", m) },
		End: func(m *ship, end fleet.End) {
			p.Lock()
			defer p.Unlock()
			p.note("end", m)
			p.ends[m.ID] = end
		},
	})
	t.Cleanup(p.close)
	return p
}

func (p *port) close() {
	p.cancel()
	p.Wait()
}

func (p *port) attend(ctx context.Context, m *ship) error {
	m.attempts.Add(1)
	if p.open != nil {
		return p.open(ctx, m)
	}
	p.Lock()
	if p.streams[m.ID] != nil {
		p.t.Errorf("a second stream to %s", m.ID)
	}
	stream := make(chan error)
	p.streams[m.ID] = stream
	p.note("open", m)
	p.Unlock()
	defer func() {
		p.Lock()
		defer p.Unlock()
		delete(p.streams, m.ID)
	}()
	select {
	case err := <-stream:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// note logs what the fleet does. The lock must be held.
func (p *port) note(what string, m *ship) {
	if !p.locked {
		p.t.Errorf("%s %s without the lock", what, m.ID)
	}
	p.log = append(p.log, what+" "+m.ID)
}

// update makes ids the list of a service, and returns those that have joined.
func (p *port) update(service string, ids ...string) []*ship {
	var list []discovery.Instance
	for _, id := range ids {
		list = append(list, discovery.Instance{ID: id})
	}
	return p.Update(service, list, func(in discovery.Instance) *ship {
		m := &ship{Life: fleet.Life{ID: in.ID, Service: service}}
		p.note("meet", m)
		return m
	})
}

// end ends the stream to an instance with err.
func (p *port) end(id string, err error) {
	p.t.Helper()
	p.Lock()
	stream := p.streams[id]
	p.Unlock()
	if stream == nil {
		p.t.Fatalf("there is no stream to %s", id)
	}
	stream <- err
}

// member returns the member of an instance, nil if there is none.
func (p *port) member(id string) *ship {
	p.Lock()
	defer p.Unlock()
	m, _ := p.Get(id)
	return m
}

// ids returns the IDs of all members, sorted.
func (p *port) ids() []string {
	p.Lock()
	defer p.Unlock()
	var ids []string
	for m := range p.All() {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return ids
}

// want waits until all goroutines wait, and checks what the fleet has done since the last call.
func (p *port) want(words ...string) {
	p.t.Helper()
	synctest.Wait()
	p.Lock()
	defer p.Unlock()
	if !slices.Equal(p.log, words) {
		p.t.Errorf("it did %q, want %q", p.log, words)
	}
	p.log = nil
}

var errLost = errors.New("the stream is lost")

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }
