package link_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

// callWithin makes one call with a deadline and returns how long it took.
func callWithin(t *testing.T, client *link.Node, limit time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	_, err := reqrep.Call(ctx, client, putOrder, order{})
	return time.Since(begin), err
}

func TestCallsOverABadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Loss(0.05), linktest.Delay(50*time.Millisecond))
		var mu sync.Mutex
		runs := make(map[string]int)
		orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) {
			mu.Lock()
			defer mu.Unlock()
			runs[o.ID]++
			return o, nil
		})
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		var wg sync.WaitGroup
		for caller := range 20 {
			wg.Go(func() {
				for i := range 20 {
					want := order{ID: fmt.Sprint(caller, "-", i) + strings.Repeat("x", i*500), Cents: int64(i)}
					if got, err := reqrep.Call(t.Context(), client, putOrder, want); err != nil || got != want {
						t.Errorf("call %d of %d: %v", i, caller, err)
					}
				}
			})
		}
		wg.Wait()
		if len(runs) != 400 {
			t.Errorf("%d different calls ran, want 400", len(runs))
		}
		for id, n := range runs {
			if n != 1 {
				t.Errorf("call %.10s ran %d times", id, n)
			}
		}
	})
}

func TestPartitionAndHeal(t *testing.T) {
	for name, cut := range map[string]func(mesh *linktest.Mesh, srv, client *link.Node){
		"both ways": func(mesh *linktest.Mesh, srv, client *link.Node) { mesh.Partition(srv, client) },
		"requests":  func(mesh *linktest.Mesh, srv, client *link.Node) { mesh.PartitionOneWay(client, srv) },
		"replies":   func(mesh *linktest.Mesh, srv, client *link.Node) { mesh.PartitionOneWay(srv, client) },
	} {
		for _, length := range []time.Duration{3 * time.Second, time.Hour} {
			t.Run(fmt.Sprint(name, " for ", length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t)
					var runs atomic.Int32
					srv := orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) { runs.Add(1); return o, nil })
					client := mesh.Node(link.Config{})
					if _, err := callWithin(t, client, time.Second); err != nil {
						t.Fatal(err)
					}
					cut(mesh, srv, client)
					for begin := time.Now(); time.Since(begin) < length; {
						took, err := callWithin(t, client, 10*time.Second)
						if !errors.Is(err, link.Unavailable) && !errors.Is(err, link.DeadlineExceeded) || took > 10*time.Second {
							t.Fatalf("cut off: %v after %v, want a typed error by the deadline", err, took)
						}
						sleep(min(length/3, time.Minute))
					}
					mesh.Heal(srv, client)
					begin := time.Now()
					for {
						if _, err := callWithin(t, client, 10*time.Second); err == nil {
							break
						}
						sleep(time.Second)
					}
					if took := time.Since(begin); took > 45*time.Second {
						t.Errorf("after the partition calls work only after %v", took)
					}
					before := runs.Load()
					if took, err := callWithin(t, client, time.Second); err != nil || took != 0 || runs.Load() != before+1 {
						t.Errorf("a call after that: %v after %v", err, took)
					}
				})
			})
		}
	}
}

func TestServerKilledDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs, elsewhere atomic.Int32
		srv := orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) {
			runs.Add(1)
			<-ctx.Done()
			return o, ctx.Err()
		})
		client := mesh.Node(link.Config{})
		time.AfterFunc(time.Second, func() { mesh.Kill(srv) })
		result := make(chan error, 1)
		begin := time.Now()
		go func() {
			_, err := callWithin(t, client, time.Minute)
			result <- err
		}()
		synctest.Wait()
		orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) { elsewhere.Add(1); return o, nil })
		err := <-result
		if took := time.Since(begin); !errors.Is(err, link.Unavailable) || took > 8*time.Second {
			t.Errorf("got %v after %v, want unavailable within some seconds", err, took)
		}
		if runs.Load() != 1 || elsewhere.Load() != 0 {
			t.Errorf("the call ran %d times there and %d times elsewhere, want 1 and 0", runs.Load(), elsewhere.Load())
		}
		for range 10 {
			if took, err := callWithin(t, client, time.Second); err != nil || took != 0 {
				t.Errorf("the next call: %v after %v", err, took)
			}
		}
	})
}

// TestDeadAddressIsLeftForOthers registers addresses where no node listens.
func TestDeadAddressIsLeftForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{}, keep)
		for i := range 3 {
			if _, err := mesh.Registry().Register(t.Context(), discovery.Instance{
				ID: fmt.Sprint("gone-", i), Service: "orders", Addr: fmt.Sprintf("10.9.9.%d:7443", i+1),
			}); err != nil {
				t.Fatal(err)
			}
		}
		client := mesh.Node(link.Config{})
		for range 20 {
			if took, err := callWithin(t, client, 30*time.Second); err != nil {
				t.Errorf("got %v after %v", err, took)
			}
		}
	})
}

// wrongSources returns identities that an honest node must not accept. They claim
// to be the named service, as an attacker would.
func wrongSources(t *testing.T, ca *securitytest.CA) map[string]func(service string) security.Source {
	t.Helper()
	forger, stranger := securitytest.NewCA(t, ca.TrustDomain()), securitytest.NewCA(t, "other.test")
	with := func(opts ...securitytest.Option) func(string) security.Source {
		return func(service string) security.Source { return ca.Source(service, opts...) }
	}
	return map[string]func(string) security.Source{
		"no certificate":     with(securitytest.NoCertificate()),
		"expired":            with(securitytest.Expired()),
		"not yet valid":      with(securitytest.NotYetValid()),
		"foreign authority":  with(securitytest.SignedBy(forger)),
		"self-signed":        with(securitytest.SelfSigned()),
		"only a DNS name":    with(securitytest.OnlyDNSName("orders")),
		"authority as leaf":  with(securitytest.AsCA()),
		"weak key":           with(securitytest.WeakRSA()),
		"wrong usage":        with(securitytest.WithExtKeyUsage(x509.ExtKeyUsageCodeSigning)),
		"other trust domain": func(service string) security.Source { return stranger.Source(service) },
	}
}

func TestWrongCertificateOfEitherSide(t *testing.T) {
	names := []string{
		"no certificate", "expired", "not yet valid", "foreign authority", "self-signed", "only a DNS name", "authority as leaf",
		"weak key", "wrong usage", "other trust domain",
	}
	for _, name := range names {
		for _, side := range []string{"server", "client"} {
			t.Run(name+"/"+side, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t)
					wrong := wrongSources(t, mesh.CA())[name]
					var server, client link.Config
					if side == "server" {
						server.Identity = wrong("orders")
					} else {
						client.Identity = wrong("gateway")
						client.Service = "gateway"
					}
					expectUnauthenticated(t, mesh, server, client)
				})
			})
		}
	}
}

// expectUnauthenticated calls and opens a stream between nodes that must not
// trust each other.
func expectUnauthenticated(t *testing.T, mesh *linktest.Mesh, server, client link.Config) {
	t.Helper()
	server.Service = "orders"
	ran := false
	srv := mesh.Node(server)
	feed := link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel}
	reqrep.Handle(srv, putOrder, func(_ context.Context, o order) (order, error) { ran = true; return o, nil })
	link.HostOf(srv).Handle(feed, func(context.Context, *link.Stream) error { ran = true; return nil })
	mesh.Start(srv)
	node := mesh.Node(client)
	for range 2 {
		took, err := callWithin(t, node, 10*time.Second)
		if !errors.Is(err, link.Unauthenticated) || took > time.Second {
			t.Errorf("call: %v after %v, want unauthenticated soon", err, took)
		}
	}
	if _, err := link.HostOf(node).Open(t.Context(), feed); !errors.Is(err, link.Unauthenticated) {
		t.Errorf("open: %v, want unauthenticated", err)
	}
	if ran {
		t.Error("a handler ran")
	}
}

func TestCertificateOfAnotherService(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			expectUnauthenticated(t, mesh, link.Config{Identity: mesh.CA().Source("orders", securitytest.Naming("mailer"))}, link.Config{})
		})
	})
	// Only the certificate of a client counts, not its Config.Service.
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			var caller link.Peer
			orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) { caller = link.Caller(ctx); return o, nil })
			thief := mesh.Node(link.Config{Service: "admin", Identity: mesh.CA().Source("admin", securitytest.Naming("mailer"))})
			if _, err := callWithin(t, thief, time.Second); err != nil {
				t.Fatal(err)
			}
			if caller.Service() != "mailer" {
				t.Errorf("the handler takes the caller for %v", caller.Identity)
			}
		})
	})
}

func TestNodesOfTwoTrustDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		other := securitytest.NewCA(t, "other.test")
		expectUnauthenticated(t, mesh, link.Config{}, link.Config{Service: "gateway", Identity: other.Source("gateway")})
	})
}

// TestRogueInstanceBesideAnHonestOne registers a node of another service as an
// instance of orders.
func TestRogueInstanceBesideAnHonestOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var stolen, served atomic.Int32
		rogue := mesh.Node(link.Config{Service: "orders", Identity: mesh.CA().Source("orders", securitytest.Naming("mailer"))})
		reqrep.Handle(rogue, putOrder, func(_ context.Context, o order) (order, error) { stolen.Add(1); return o, nil })
		mesh.Start(rogue)
		orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) { served.Add(1); return o, nil })
		var log logBuffer
		client := mesh.Node(link.Config{Logger: log.logger()})
		for range 200 {
			if _, err := callWithin(t, client, time.Second); err != nil {
				t.Errorf("beside a rogue: %v", err)
			}
		}
		if stolen.Load() != 0 || served.Load() != 200 {
			t.Errorf("the rogue served %d calls, the honest instance %d", stolen.Load(), served.Load())
		}
		if text := log.String(); strings.Count(text, "instance presents the wrong identity") != 1 || !strings.Contains(text, rogue.Instance()) {
			t.Errorf("the log does not name the rogue once:\n%s", text)
		}
	})
}

// TestCertificatesAreRenewed makes calls for 8 hours with leaf certificates that
// last an hour.
func TestCertificatesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		hour := securitytest.WithLifetime(time.Hour)
		orders(mesh, link.Config{Identity: mesh.CA().Source("orders", hour)}, keep)
		client := mesh.Node(link.Config{Identity: mesh.CA().Source("client", hour)})
		for begin := time.Now(); time.Since(begin) < 8*time.Hour; sleep(time.Minute) {
			if _, err := callWithin(t, client, 5*time.Second); err != nil {
				t.Fatalf("after %v: %v", time.Since(begin), err)
			}
		}
	})
}

// TestIdentityThatIsNotRenewed lets the certificate of the client expire, and expects calls to fail.
func TestIdentityThatIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{}, keep)
		short := mesh.CA().Source("client", securitytest.WithLifetime(time.Hour), securitytest.MutateLeaf(func(*securitytest.Leaf) {}))
		client := mesh.Node(link.Config{Identity: short})
		begin := time.Now()
		for {
			_, err := callWithin(t, client, 5*time.Second)
			if err != nil {
				if !errors.Is(err, link.Unauthenticated) {
					t.Errorf("got %v, want unauthenticated", err)
				}
				break
			}
			if time.Since(begin) > 2*time.Hour {
				t.Fatal("calls go on an hour after the certificate ended")
			}
			sleep(time.Minute)
		}
		if after := time.Since(begin); after < 50*time.Minute {
			t.Errorf("calls ended after %v, before the certificate did", after)
		}
	})
}
