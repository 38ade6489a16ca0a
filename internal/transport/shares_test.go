package transport

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/share/sharetest"
	"github.com/linkmesh/link/internal/wire"
)

// advisory makes a node treat names as chosen by the peers themselves.
func advisory(c *Config) {
	c.Identify = func(state tls.ConnectionState, own *x509.Certificate) (Identity, error) {
		who, err := identify(state, own)
		who.Advisory = true
		return who, err
	}
}

// member is an attacker on one host that holds a certificate. If free is set, it takes another
// name for each connection.
type member struct {
	w     *world
	to    *node
	free  bool
	conns int
}

var memberAddr = net.IPv4(10, 0, 1, 1).To4()

// connect opens one more connection and sends SETUP. It returns nil if the node refuses the
// connection.
func (m *member) connect(config *quic.Config) *raw {
	name := "mallory"
	if m.free {
		name = fmt.Sprintf("mallory%d", m.conns)
	}
	return m.connectAs(name, config)
}

func (m *member) connectAs(name string, config *quic.Config) *raw {
	m.conns++
	w := m.w
	tr := &quic.Transport{Conn: w.socketAt(&net.UDPAddr{IP: memberAddr, Port: 10_000 + m.conns})}
	w.t.Cleanup(func() { _ = tr.Close() })
	conn, err := tr.Dial(w.t.Context(), m.to.Addr(), mtls.Client(w.ca.Source(name), m.to.id, mtls.Protocol), config)
	if err != nil {
		w.t.Fatalf("dialing: %v", err)
	}
	r := w.raw(conn)
	control, err := r.conn.OpenControl()
	if err != nil {
		return nil
	}
	r.control = control
	if _, err := control.Write(append(controlType(), setupFrame()...)); err != nil {
		return nil
	}
	settle()
	if conn.Context().Err() != nil {
		return nil
	}
	return r
}

// attempt opens a stream and writes as much of b as there is room for, until the node stops the
// stream. It returns nil if the node allows no more streams.
func (r *raw) attempt(b []byte) *rawStream {
	s, err := r.conn.TryOpen()
	if err != nil {
		return nil
	}
	_ = s.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = s.Write(b)
	return &rawStream{t: r.t, conn: r, Stream: s, frames: frames{src: s}}
}

// siege describes how a member fills one bound that all peers share, and what the others must
// still get.
type siege struct {
	bound string
	// conns is how many connections the member opens. 0 means 12.
	conns  int
	limits Limits
	pool   func(p *pools) *share.Pool
	// window is the receive window of the member's streams in bytes. 0 means 16 KiB.
	window uint64
	// fill takes as much as it can get over one connection.
	fill func(r *raw)
	// honest is what each of floor other peers does at the same time, on its own connection.
	honest func(s *Session) error
	floor  int
	// least is how much of the bound the attacker must get. 0 means an eighth.
	least int64
	// untold means that nothing is refused.
	untold bool
}

func sieges() []siege {
	message := strings.Repeat("m", 1<<20)
	echo := func(s *Session) error {
		return expectEcho(s, "honest")
	}
	return []siege{
		{
			bound:  "calls running",
			limits: Limits{CallsPerProcess: 200, CallsPerIdentity: 400},
			pool:   func(p *pools) *share.Pool { return p.calls },
			fill: func(r *raw) {
				for range 30 {
					r.attempt(callStream(wire.StreamCall, "wait", time.Hour, ""))
				}
			},
			honest: echo, floor: 40,
		},
		{
			bound:  "calls that are refused or never whole",
			limits: Limits{CallsPerProcess: 200, CallsPerIdentity: 20},
			pool:   func(p *pools) *share.Pool { return p.calls },
			fill: func(r *raw) {
				for range 30 {
					r.attempt(append(calls(), headers("echo", time.Hour)...))
				}
			},
			honest: echo, floor: 40, least: 20,
		},
		{
			bound:  "calls whose small replies wait for room",
			limits: Limits{CallsPerProcess: 200, CallsPerIdentity: 20},
			pool:   func(p *pools) *share.Pool { return p.streams },
			window: 16,
			fill: func(r *raw) {
				for range 30 {
					r.attempt(append(calls(), bytes.Repeat(callFrames("kilo", time.Hour, ""), 3)...))
				}
			},
			// The member gets all streams that it opens, because the calls are bounded instead.
			honest: echo, floor: 40, least: 300,
		},
		{
			bound:  "streams",
			limits: Limits{Streams: StreamLimits{PerProcess: 1000}},
			pool:   func(p *pools) *share.Pool { return p.streams },
			fill: func(r *raw) {
				for range 60 {
					if st := r.attempt(append(calls(), callFrames("echo", time.Second, "x")...)); st != nil {
						// The stream stays open as long as there is room.
						_ = st.reply()
					}
					r.attempt(append(calls(), headers("echo", time.Hour)...))
				}
			},
			honest: echo, floor: 40,
		},
		{
			bound:  "connections",
			conns:  40,
			limits: Limits{ConnsPerProcess: 40, ConnsPerIdentity: 100},
			pool:   func(p *pools) *share.Pool { return p.conns },
			fill:   func(r *raw) { r.attempt(callStream(wire.StreamCall, "wait", time.Hour, "")) },
			honest: echo, floor: 8,
		},
		{
			bound:  "bytes of messages received",
			limits: Limits{InFlightBytes: 32 << 20, MaxMessage: 1 << 20},
			pool:   func(p *pools) *share.Pool { return p.bytes },
			fill: func(r *raw) {
				for range 6 {
					r.attempt(join(calls(), headers("echo", time.Hour), data(message)[:len(message)]))
				}
			},
			honest: func(s *Session) error { return expectEcho(s, message) }, floor: 4,
		},
		{
			bound:  "bytes of headers whose message does not come",
			limits: Limits{InFlightBytes: 2 << 20, MaxMessage: 200 << 10},
			pool:   func(p *pools) *share.Pool { return p.bytes },
			fill: func(r *raw) {
				for range 30 {
					r.attempt(append(calls(), withMetadata("echo", 7<<10)...))
				}
			},
			honest: func(s *Session) error { return expectEcho(s, message[:100<<10]) }, floor: 4,
		},
		{
			bound:  "bytes of replies that are not read",
			limits: Limits{InFlightBytes: 32 << 20, MaxMessage: 1 << 20},
			pool:   func(p *pools) *share.Pool { return p.bytes },
			fill: func(r *raw) {
				for range 6 {
					r.attempt(callStream(wire.StreamCall, "bulk", time.Hour, ""))
				}
			},
			honest: func(s *Session) error { return expectEcho(s, message) }, floor: 4,
		},
		{
			bound:  "bytes of frames that wait to be read",
			limits: Limits{InFlightBytes: 32 << 20, MaxMessage: 1 << 20, Streams: StreamLimits{PendingBytes: 1 << 20}},
			pool:   func(p *pools) *share.Pool { return p.bytes },
			fill: func(r *raw) {
				for range 6 {
					r.attempt(join(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("deaf", time.Hour), frame(wire.KindPattern, 0, message[:len(message)-1])))
				}
			},
			honest: func(s *Session) error { return expectEcho(s, message) }, floor: 4,
		},
		{ // SEC-385
			bound:  "credit",
			limits: Limits{CreditBytes: 32 << 20},
			pool:   func(p *pools) *share.Pool { return p.credit },
			fill: func(r *raw) {
				for range 6 {
					r.attempt(callStream(wire.StreamCall, "grant", time.Hour, ""))
				}
			},
			honest: expectCredit, floor: 4,
		},
		{ // SEC-329
			bound:  "late credit",
			conns:  4,
			limits: Limits{Streams: StreamLimits{PerProcess: 8000, PerConnection: 600, RefusalRate: 10}},
			pool:   func(p *pools) *share.Pool { return p.late },
			fill: func(r *raw) {
				for range 600 {
					r.attempt(join(patternStream("grant"), frame(0x9d, wire.FlagCritical, "")))
				}
			},
			honest: echo, floor: 40,
		},
		{ // SEC-326
			bound:  "windows",
			conns:  6,
			limits: Limits{WindowBytes: 16 << 20, MaxMessage: 2 << 20},
			pool:   func(p *pools) *share.Pool { return p.windows },
			fill: func(r *raw) {
				for range 3 {
					if st := r.attempt(callStream(wire.StreamCall, "sink", time.Hour, message+message[:1<<19])); st != nil {
						_ = st.reply()
					}
				}
			},
			honest: func(s *Session) error { return expectEcho(s, message) }, floor: 4, least: 1,
			// Nothing is refused: a window that does not grow only slows its connection down.
			untold: true,
		},
	}
}

// expectCredit returns an error unless a handler can grant 1 MiB.
func expectCredit(s *Session) error {
	st, err := s.Open(s.conn.Context(), &wire.Headers{Route: "grant", Timeout: wire.MaxVarint})
	if err != nil {
		return err
	}
	defer st.Cancel(wire.CodeCanceled)
	return st.Await(s.conn.Context(), 1<<20)
}

func expectEcho(s *Session, message string) error {
	now := time.Now()
	var reply Reply
	if err := s.Call(s.conn.Context(), now, now.Add(30*time.Second), &wire.Headers{Route: "echo"}, data(message), &reply); err != nil {
		return err
	}
	defer reply.Release()
	if reply.Status.Code != 0 || string(reply.Message) != message {
		return fmt.Errorf("status %d: %s; %d bytes", reply.Status.Code, reply.Status.Message, len(reply.Message))
	}
	return nil
}

// TestOneMemberLeavesOthersTheirShare checks each bound that all peers share. One attacker holds
// as much as it gets for as long as it likes, under one name or, where peers choose their names,
// under many.
func TestOneMemberLeavesOthersTheirShare(t *testing.T) { // SEC-319
	for i, siege := range sieges() {
		for _, free := range []bool{false, true} {
			// The race detector sees half of the cases, some with each kind of names.
			if race.Enabled && (i%2 != 0 || free == (i%4 == 0)) {
				continue
			}
			t.Run(fmt.Sprintf("%s, names free %t", siege.bound, free), func(t *testing.T) {
				inWorld(t, func(w *world) { besiege(w, siege, free) })
			})
		}
	}
}

func besiege(w *world, siege siege, free bool) {
	t := w.t
	var opts []nodeOption
	if free {
		opts = append(opts, advisory)
	}
	server := w.node("orders", siege.limits, opts...)
	server.handler.onCall("bulk", func(c *Call) { answer(c, strings.Repeat("b", 1<<20)) })
	server.handler.onCall("sink", func(c *Call) { c.Reply = wire.AppendOK(c.Reply, c.StatusFlags()) })
	server.handler.onCall("kilo", func(c *Call) { answer(c, strings.Repeat("k", 1100)) })
	server.handler.onStream("deaf", func(s *Stream) { <-s.Canceled().Done() })
	server.handler.onStream("grant", func(s *Stream) {
		if s.Grant(wire.Credit{Messages: 1, Bytes: 1 << 20}) == nil {
			<-s.Canceled().Done()
		}
	})
	config := rawConfig()
	config.KeepAlivePeriod = 5 * time.Second
	config.InitialStreamReceiveWindow = cmp.Or(siege.window, 16<<10)
	config.MaxStreamReceiveWindow = config.InitialStreamReceiveWindow
	pool, attacker := siege.pool(&server.pools), &member{w: w, to: server}
	var conns []*raw
	sharetest.Drive(t, sharetest.Bound{
		Used: pool.Used, Limit: pool.Limit, Tries: cmp.Or(siege.conns, 12), Least: siege.least,
		Take: func(m sharetest.Member) {
			if r := attacker.connectAs(m.Name, config); r != nil {
				conns = append(conns, r)
				siege.fill(r)
				settle()
			}
		},
		Told: func() bool {
			told := server.Shed()
			maps.Copy(told, server.Refused())
			return siege.untold || len(told) > 0 && (server.log.contains("mallory") || told[refusedOverload] > 0)
		},
		// Each of the others costs a handshake.
		Others: race.Fewer(siege.floor, (siege.floor+3)/4),
		Use: func(others []sharetest.Member) error {
			var wg sync.WaitGroup
			failed := make([]error, len(others))
			for i, m := range others {
				s := w.quiet(m.Name, Limits{}).connect(server)
				defer s.close(wire.CodeNone, "test")
				wg.Go(func() {
					for range 3 {
						if err := siege.honest(s); err != nil {
							failed[i] = fmt.Errorf("%s: %w", m.Name, err)
							return
						}
					}
				})
			}
			wg.Wait()
			return errors.Join(failed...)
		},
		Leave: func() {
			for _, r := range conns {
				r.conn.Close(0, "")
			}
			pass(3 * time.Second)
			if n := server.pools.calls.Used() + server.pools.bytes.Used() + server.pools.credit.Used(); n != 0 {
				t.Errorf("%d calls and bytes are held when the attacker is gone", n)
			}
		},
	}, free)
}
