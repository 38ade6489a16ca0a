package transport

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

func setupFrame() []byte { return wire.AppendSetup(nil, new(setupOf(Limits{}))) }

// controlAttacks lists what a peer must not do on CONTROL. attack runs after the attacker has sent
// SETUP or, if fresh is set, before it has opened its CONTROL stream.
var controlAttacks = []struct {
	name   string
	fresh  bool
	attack func(r *raw)
	want   wire.Code
}{
	{"second CONTROL stream", false, func(r *raw) { r.openUni(append(controlType(), setupFrame()...)) }, wire.CodeProtocol},
	{"CONTROL ended", false, func(r *raw) { r.control.Finish() }, wire.CodeProtocol},
	{"CONTROL reset", false, func(r *raw) { r.control.CancelWrite(0) }, wire.CodeProtocol},
	{"SETUP twice", false, func(r *raw) { r.send(setupFrame()) }, wire.CodeProtocol},
	{"PING before SETUP", true, func(r *raw) { r.open(append(controlType(), wire.AppendPing(nil, wire.KindPing, 1)...)) }, wire.CodeProtocol},
	{"unknown frame before SETUP", true, func(r *raw) { r.open(append(controlType(), frame(0x9d, 0, "x")...)) }, wire.CodeProtocol},
	{"oversized frame", false, func(r *raw) {
		r.send(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindRoutes, Length: wire.MaxControl + 1}))
	}, wire.CodeProtocol},
	{"largest length", false, func(r *raw) {
		r.send(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: 0x9d, Length: wire.MaxVarint}))
	}, wire.CodeProtocol},
	{"garbage", false, func(r *raw) { r.send(bytes.Repeat([]byte{0xff}, 64)) }, wire.CodeProtocol},
	{"malformed HEALTH", false, func(r *raw) { r.send(frame(wire.KindHealth, 0, "\xa1\x01\x20")) }, wire.CodeProtocol},
	{"malformed GOAWAY", false, func(r *raw) { r.send(frame(wire.KindGoAway, 0, "\xa1")) }, wire.CodeProtocol},
	{"malformed PING", false, func(r *raw) { r.send(frame(wire.KindPing, 0, "")) }, wire.CodeProtocol},
	{"malformed SETUP", true, func(r *raw) { r.open(append(controlType(), frame(wire.KindSetup, wire.FlagCritical, "\xa0")...)) }, wire.CodeProtocol},
	{"SETUP of an unknown version", true, func(r *raw) {
		setup := setupOf(Limits{})
		setup.Version = 2
		r.open(wire.AppendSetup(controlType(), &setup))
	}, wire.CodeIncompatible},
	{"SETUP with an instance that does not print", true, func(r *raw) {
		setup := setupOf(Limits{})
		setup.Instance = "i-1\x1b[2J"
		r.open(wire.AppendSetup(controlType(), &setup))
	}, wire.CodeProtocol},
	{"SETUP with a tag that does not print", true, func(r *raw) {
		setup := setupOf(Limits{})
		setup.Tags = []string{"v2", "a\nb"}
		r.open(wire.AppendSetup(controlType(), &setup))
	}, wire.CodeProtocol},
	{"TAGS that do not print", false, func(r *raw) { r.send(wire.AppendTags(nil, &wire.Tags{Tags: []string{"\u202ev2"}})) }, wire.CodeProtocol},
	{"unknown critical frame", false, func(r *raw) { r.send(frame(0x9d, wire.FlagCritical, "x")) }, wire.CodeProtocol},
	{"stream without a type", false, func(r *raw) { r.openUni(nil).Finish() }, wire.CodeProtocol},
	{"frame that never ends", false, func(r *raw) { r.send(frame(wire.KindRoutes, 0, "0123456789")[:5]) }, wire.CodeProtocol},
}

// TestClientClosesOnMalformedRoutes checks that a client closes the connection on malformed ROUTES.
// A server does not parse ROUTES, because clients serve nothing.
func TestClientClosesOnMalformedRoutes(t *testing.T) {
	inEach(t, func(w *world) {
		ended := make(chan error, 1)
		server := w.rawServer("orders", func(r *raw) {
			r.open(append(controlType(), setupFrame()...))
			r.send(frame(wire.KindRoutes, 0, "\xff"))
			<-r.conn.Context().Done()
			ended <- r.conn.Cause()
		})
		// The dial fails if the frame arrives before it has ended.
		if s, err := w.quiet("web", Limits{}).dial(server); err == nil {
			<-s.Done()
		}
		end, ok := errors.AsType[*carrier.EndError](<-ended)
		if !ok || end.Code != wire.CodeProtocol {
			w.t.Errorf("closed with %v, want PROTOCOL", end)
		}
	})
}

func TestServerClosesOnControlAttack(t *testing.T) {
	for _, test := range controlAttacks {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				honest := w.quiet("web", Limits{}).connect(server)
				var mallory *raw
				if test.fresh {
					mallory = w.rawClient("mallory", server)
				} else {
					mallory = w.client("mallory", server)
				}
				test.attack(mallory)
				if code, reason := mallory.closed(); code != test.want || reason == "" {
					t.Errorf("closed with %v %q, want %v and a reason", code, reason, test.want)
				}
				mustEcho(t, honest)
			})
		})
	}
}

func TestClientClosesOnControlAttack(t *testing.T) {
	for _, test := range controlAttacks {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				ended := make(chan error, 1)
				server := w.rawServer("orders", func(r *raw) {
					if !test.fresh {
						r.open(append(controlType(), setupFrame()...))
					}
					test.attack(r)
					<-r.conn.Context().Done()
					ended <- r.conn.Cause()
				})
				s, err := w.quiet("web", Limits{}).dial(server)
				if test.fresh {
					if e := failure(t, err, reasonOf(test.want)); !e.NotProcessed {
						t.Errorf("%q does not say that nothing was processed", e)
					}
				} else if err == nil {
					// The dial fails if the attack arrives before it has ended.
					<-s.Done()
				}
				end, ok := errors.AsType[*carrier.EndError](<-ended)
				if !ok || end.Code != test.want {
					t.Errorf("closed with %v, want %v", end, test.want)
				}
			})
		})
	}
}

func reasonOf(code wire.Code) Reason {
	if code == wire.CodeIncompatible {
		return ReasonIncompatible
	}
	return ReasonProtocol
}

func TestUnknownControlFramesAreSkipped(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		r.send(frame(0x9d, 0, "grease"))
		r.send(frame(0x9d, 0, strings.Repeat("g", 10_000)))
		// HEALTH with an unknown state and unknown flags.
		r.send(frame(wire.KindHealth, 0xf8, "\xa1\x01\x18\x63"))
		// PONG without a PING.
		r.send(wire.AppendPing(nil, wire.KindPong, 12345))
		r.send(wire.AppendPing(nil, wire.KindPing, 77))
		if token, err := wire.ParsePing(r.await(wire.KindPong)); err != nil || token != 77 {
			t.Errorf("PONG %d, %v; want that of the PING, 77", token, err)
		}
		r.mustEcho()
	})
}

func TestUnknownStreamsAreIgnored(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		// 40 is more than may be open at once, so the server must release them.
		for range 40 {
			s, err := r.quic.OpenUniStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(append(wire.AppendVarint(nil, 0x9d), "grease"...)); err != nil {
				t.Fatal(err)
			}
			<-s.Context().Done()
			if _, err := s.Write([]byte("more")); !isReset(err, wire.CodeIgnored) {
				t.Fatalf("writing on: %v, want STOP_SENDING(IGNORED)", err)
			}
		}
		st := r.stream(append(wire.AppendVarint(nil, 0x9d), "grease"...))
		st.mustReset(wire.CodeIgnored)
		r.mustEcho()
	})
}

func isReset(err error, code wire.Code) bool {
	reset, ok := errors.AsType[*carrier.ResetError](quicconn.Translate(err))
	return ok && reset.Remote && reset.Code == code
}

func TestClientIgnoresUnknownStreams(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.rawServer("orders", func(r *raw) {
			r.openUni(append(wire.AppendVarint(nil, 0x9d), "grease"...))
			serving(func(s *rawStream) {
				if _, err := s.request(true); err == nil {
					s.write(append(data("honest"), wire.AppendOK(nil, 0)...))
				}
			})(r)
		})
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		mustEcho(t, s)
	})
}

// TestUnknownStreamsAreBounded checks that a peer may open streams of unknown types only as often as it
// may send frames on CONTROL.
func TestUnknownStreamsAreBounded(t *testing.T) { // SEC-380
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("mallory", server)
		opened := 0
		for ; opened < 2*controlBurst; opened++ {
			s, err := r.quic.OpenUniStreamSync(t.Context())
			if err != nil {
				break
			}
			// Write fails if the connection has ended.
			_, _ = s.Write(wire.AppendVarint(nil, 0x9d))
			_ = s.Close()
		}
		if code, reason := r.closed(); code != wire.CodeLimit || !strings.Contains(reason, "unknown type") {
			t.Errorf("after %d streams closed with %v %q, want LIMIT about streams of an unknown type", opened, code, reason)
		}
		if opened < controlBurst/2 {
			t.Errorf("closed after %d streams", opened)
		}
	})
}

// TestPeerThatDoesNotReadControlIsDisconnected checks that the queue of PONGs for a peer that does
// not read CONTROL is bounded.
func TestPeerThatDoesNotReadControlIsDisconnected(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		honest := w.quiet("web", Limits{}).connect(server)
		config := rawConfig()
		config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = 4<<10, 4<<10
		r := w.rawClientWith("mallory", server, config)
		r.open(append(controlType(), setupFrame()...))
		pings := bytes.Repeat(wire.AppendPing(nil, wire.KindPing, 1), controlRate-4)
		for r.conn.Context().Err() == nil {
			if _, err := r.control.Write(pings); err != nil {
				break
			}
			pass(time.Second)
		}
		if code, reason := r.closed(); code != wire.CodeLimit || !strings.Contains(reason, "the peer does not read CONTROL") {
			t.Errorf("closed with %v %q, want LIMIT about CONTROL that is not read", code, reason)
		}
		mustEcho(t, honest)
	})
}

// TestControlWaitsWhileTheConnectionIsFull checks that frames on CONTROL wait, without harm, while
// messages fill the flow control window of the connection, which CONTROL shares with them.
func TestControlWaitsWhileTheConnectionIsFull(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onCall("big", func(c *Call) { answer(c, strings.Repeat("b", 100<<10)) })
		config := rawConfig()
		config.InitialConnectionReceiveWindow, config.MaxConnectionReceiveWindow = 64<<10, 64<<10
		r := w.clientWith("web", server, config)
		st := r.stream(callStream(wire.StreamCall, "big", 10*time.Second, ""))
		// Meanwhile the reply fills the window.
		pass(time.Second)
		r.send(wire.AppendPing(nil, wire.KindPing, 5))
		pass(time.Second)
		got := st.reply()
		if got.err != nil || len(got.message) != 100<<10 {
			t.Fatalf("reply of %d bytes, %v", len(got.message), got.err)
		}
		if token, err := wire.ParsePing(r.await(wire.KindPong)); err != nil || token != 5 {
			t.Errorf("PONG %d, %v; want 5", token, err)
		}
	})
}

// TestServerDrainsWhatItHearsFromClients checks that a client that has sent GOAWAY may still make calls.
func TestServerDrainsWhatItHearsFromClients(t *testing.T) {
	inEach(t, func(w *world) {
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		r.send(wire.AppendGoAway(nil, &wire.GoAway{Reason: "bye"}))
		r.mustEcho()
	})
}
