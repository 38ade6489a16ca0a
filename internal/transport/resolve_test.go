package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/wire"
)

// zone is a DNS server for one name.
type zone struct {
	mu    sync.Mutex // guards the fields below
	addrs []netip.Addr
}

// set sets the addresses of the name.
func (z *zone) set(addrs ...netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs = addrs
}

// resolver returns Go's own resolver, which asks the zone over connections in memory.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go z.serve(server)
		return client, nil
	}}
}

// serve answers the questions on a connection until it is closed.
func (z *zone) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil || len(m.Questions) != 1 {
			return
		}
		m.Response, m.Additionals = true, nil
		z.answer(&m)
		b, err := m.AppendPack([]byte{0, 0})
		if err != nil {
			return
		}
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

func (z *zone) answer(m *dnsmessage.Message) {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := m.Questions[0]
	if m.RecursionAvailable = true; len(z.addrs) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, addr := range z.addrs {
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
}

const hostName = "orders.test.:7443"

// at gives a node a socket at addr.
func (w *world) at(addr string) nodeOption {
	return func(c *Config) {
		_ = c.Conn.Close()
		c.Conn = w.socketAt(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	}
}

// TestAHostNameIsDialedAtAllItsAddresses dials a name with two addresses. The server at the first
// address answers, or is silent, slow, forbidden or another service.
func TestAHostNameIsDialedAtAllItsAddresses(t *testing.T) {
	wakeResolver(t)
	forbidden := func(first netip.Addr) func(netip.Addr) error {
		return func(addr netip.Addr) error {
			if addr == first {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
	}
	for name, addrs := range map[string][2]string{
		"two of IPv4": {"10.1.0.1", "10.1.0.2"},
		"two of IPv6": {"fd00::1", "fd00::2"},
		"one of each": {"10.1.0.1", "fd00::2"},
	} {
		for _, test := range []struct {
			name string
			// as is the service of the first server.
			as string
			do func(w *world, client *node, first, second *node)
			// after is the time until the second address is dialed. It is negative if the first server answers.
			after time.Duration
		}{
			{"both are there", "orders", func(*world, *node, *node, *node) {}, -1},
			{"the first is silent", "orders", func(w *world, _, first, _ *node) { w.lose(func(p packet) bool { return p.To.String() == first.addr }) }, headStart},
			{"the first is slow", "orders", func(w *world, _, first, _ *node) {
				began := time.Now()
				w.lose(func(p packet) bool { return p.To.String() == first.addr && time.Since(began) < time.Second })
			}, headStart},
			{"the first is forbidden", "orders", func(_ *world, client, first, _ *node) {
				client.cfg.MayDial = forbidden(addrPort(first.Addr()).Addr())
			}, 0},
			{"the first is somebody else", "billing", func(*world, *node, *node, *node) {}, 0},
		} {
			t.Run(name+", "+test.name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					t := w.t
					var z zone
					z.set(netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1]))
					client := w.quiet("web", Limits{}, w.at("[::]:1"), func(c *Config) { c.Resolver = z.resolver() })
					order, err := client.resolve(t.Context(), hostName)
					if err != nil || len(order) != 2 {
						t.Fatalf("resolving: %v, %v", order, err)
					}
					first, second := w.node(test.as, Limits{}, w.at(order[0].String())), w.node("orders", Limits{}, w.at(order[1].String()))
					test.do(w, client, first, second)
					began := time.Now()
					s, err := client.peerAt(w.ca.ID("orders"), hostName).Session(t.Context(), ClassCalls)
					if err != nil {
						t.Fatal(err)
					}
					mustEcho(t, s)
					want, took := second, time.Since(began)
					if test.after < 0 {
						want = first
					}
					if s.RemoteAddr() != want.addr {
						t.Errorf("connected to %s, want %s", s.RemoteAddr(), want.addr)
					}
					if least := max(test.after, 0); took < least || took > least+20*latency {
						t.Errorf("connected after %v, want %v and a few round trips", took, least)
					}
					pass(3 * time.Second)
					if n := sessions(client.Endpoint); n != 1 {
						t.Errorf("%d connections are left, want the one that answered", n)
					}
				})
			})
		}
	}
}

// TestAHostNameIsLookedUpForEachDial has a name move to another address between two dials.
func TestAHostNameIsLookedUpForEachDial(t *testing.T) {
	wakeResolver(t)
	inWorld(t, func(w *world) {
		t := w.t
		var z zone
		client := w.quiet("web", Limits{}, func(c *Config) { c.Resolver = z.resolver() })
		old, next := w.node("orders", Limits{}), w.node("orders", Limits{})
		p := client.peerAt(old.id, hostName)
		for _, server := range []*node{old, next} {
			z.set(addrPort(server.Addr()).Addr())
			s, err := p.Session(t.Context(), ClassCalls)
			if err != nil {
				t.Fatal(err)
			}
			if s.RemoteAddr() != server.addr {
				t.Errorf("connected to %s, want %s", s.RemoteAddr(), server.addr)
			}
			s.close(wire.CodeNone, "over")
			settle()
		}
	})
}

// TestNamesThatLeadNowhere checks that the error says what was tried.
func TestNamesThatLeadNowhere(t *testing.T) {
	wakeResolver(t)
	for _, test := range []struct {
		name  string
		addrs []string
		want  []string
	}{
		{"none at all", nil, []string{"no such host"}},
		{"another family", []string{"fd00::1"}, []string{"fd00::1", "does not reach"}},
		{"nobody there", []string{"10.1.0.1", "10.1.0.2", "fd00::1"}, []string{"none of its 2 addresses", "10.1.0.1", "10.1.0.2", "no answer"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var z zone
				var addrs []netip.Addr
				for _, addr := range test.addrs {
					addrs = append(addrs, netip.MustParseAddr(addr))
				}
				z.set(addrs...)
				client := w.quiet("web", Limits{}, func(c *Config) { c.Resolver = z.resolver() })
				_, err := client.peerAt(w.ca.ID("orders"), hostName).Session(w.t.Context(), ClassCalls)
				if e := failure(w.t, err, ReasonUnreachable); !containsAll(e.Error(), test.want...) || !e.NotProcessed {
					w.t.Errorf("the error is %q, want %q in it", e, test.want)
				}
			})
		})
	}
}

// TestAddressesTakeTurns checks that address families alternate, that the number of addresses is
// bounded, and which families a socket reaches.
func TestAddressesTakeTurns(t *testing.T) {
	var in []netip.AddrPort
	for text := range strings.FieldsSeq("[fd00::1]:1 [fd00::2]:1 [fd00::3]:1 10.0.0.1:1 10.0.0.2:1") {
		in = append(in, netip.MustParseAddrPort(text))
	}
	want := []netip.AddrPort{in[0], in[3], in[1], in[4], in[2]}
	if got := interleave(in); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	many := slices.Repeat(in, 10)
	if got := interleave(many); len(got) != maxAddresses {
		t.Errorf("%d addresses are dialed, want %d", len(got), maxAddresses)
	}
	for _, test := range []struct {
		local, remote string
		want          bool
	}{
		{"127.0.0.1", "::1", false},
		{"0.0.0.0", "::1", false},
		{"0.0.0.0", "127.0.0.1", true},
		{"::", "127.0.0.1", true},
		{"::", "::1", true},
		{"::1", "127.0.0.1", false},
		{"::1", "::1", true},
	} {
		if got := reaches(netip.MustParseAddr(test.local), netip.MustParseAddr(test.remote)); got != test.want {
			t.Errorf("from %s to %s: %t", test.local, test.remote, got)
		}
	}
}

// TestLocalhost dials a name with both loopback addresses on real sockets, whichever family the server has.
func TestLocalhost(t *testing.T) {
	ca := securitytest.NewCA(t, trustDomain)
	for _, test := range []struct{ server, client string }{
		{"127.0.0.1:0", "127.0.0.1:0"}, {"127.0.0.1:0", ":0"}, {"[::1]:0", ":0"}, {"[::1]:0", "[::1]:0"},
	} {
		t.Run(test.server+" from "+test.client, func(t *testing.T) {
			w := &world{t: t, ca: ca, hosts: make(map[string]simnet.PacketReceiver)}
			onThisHost := func(addr string) nodeOption {
				return func(c *Config) {
					_ = c.Conn.Close()
					c.Conn = listener(t, addr)
					c.Resolver = both()
				}
			}
			server, client := w.node("orders", Limits{}, onThisHost(test.server)), w.quiet("web", Limits{}, onThisHost(test.client))
			_, port, err := net.SplitHostPort(server.addr)
			if err != nil {
				t.Fatal(err)
			}
			s, err := client.peerAt(server.id, "localhost.test.:"+port).Session(t.Context(), ClassCalls)
			if err != nil {
				t.Fatal(err)
			}
			mustEcho(t, s)
		})
	}
}

// wakeResolver makes Go's resolver read its configuration outside of any bubble, because all bubbles
// share it.
func wakeResolver(t *testing.T) {
	t.Helper()
	if _, err := both().LookupNetIP(t.Context(), "ip", "localhost.test."); err != nil {
		t.Fatal(err)
	}
}

// both returns a resolver for which every name has the loopback addresses of both families.
func both() *net.Resolver {
	var z zone
	z.set(netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	return z.resolver()
}

// TestWhyNoneOfSeveralAddressesCanBeUsed checks that a wrong answer takes precedence over no answer.
func TestWhyNoneOfSeveralAddressesCanBeUsed(t *testing.T) {
	addrs := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")}
	silent := &Error{Reason: ReasonUnreachable, Peer: "orders.example:1", NotProcessed: true}
	other := &Error{Reason: ReasonIncompatible, Peer: "orders.example:1", NotProcessed: true, Detail: "this node speaks link/1"}
	plain := errors.New("no error of a dial")
	for _, test := range []struct {
		name   string
		failed []error
		reason Reason
		says   []string
	}{
		{"nobody answers", []error{silent, silent}, ReasonUnreachable, []string{"none of its 2 addresses", "192.0.2.1:1", "192.0.2.2:1"}},
		{"the second answers wrongly", []error{silent, other}, ReasonIncompatible, []string{"none of its 2 addresses", "192.0.2.2:1", "this node speaks link/1"}},
		{"the first does", []error{other, silent}, ReasonIncompatible, []string{"this node speaks link/1"}},
	} {
		e := failure(t, worst(test.failed, addrs), test.reason)
		if !containsAll(e.Error(), test.says...) || !e.NotProcessed {
			t.Errorf("%s: %v, want it to say %q, and that nothing was processed", test.name, e, test.says)
		}
	}
	if err := worst([]error{plain, silent}, addrs); !errors.Is(err, plain) {
		t.Errorf("an error of another kind is told as %v", err)
	}
	if silent.Detail != "" {
		t.Errorf("an error that others may hold was changed: %v", silent)
	}
}
