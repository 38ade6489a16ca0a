package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/reqrep"
)

// discover starts the services and finds them like a client.
func discover(ctx context.Context, m *mesh) error {
	for _, service := range []struct {
		name string
		args []string
	}{
		{"orders v1", []string{"orders", m.namespace, "v1"}},
		{"orders v2", []string{"orders", m.namespace, "v2"}},
		{"gateway", []string{"gateway", m.namespace, m.topology}},
	} {
		p, err := start(ctx, service.name, service.args...)
		if err != nil {
			return err
		}
		m.processes[p.name] = p
	}
	orders, err := m.untilFound(ctx, "orders", "v1", "v2")
	if err != nil {
		return err
	}
	gateways, err := m.untilFound(ctx, "gateway", "-")
	if err != nil {
		return err
	}
	rows := [][]string{{"SERVICE", "TAGS", "ADDRESS", "INSTANCE"}}
	for _, in := range append(orders, gateways...) {
		rows = append(rows, []string{in.Service, tags(in), in.Addr, in.ID})
	}
	m.table(rows)
	return nil
}

// untilFound polls the instances of a service until there is exactly one of each
// version. A registry takes a moment to report changes: the one of this machine less
// than is noticeable, Consul up to a second.
func (m *mesh) untilFound(ctx context.Context, service string, versions ...string) ([]discovery.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		instances, err := m.node.Instances(ctx, service)
		if err != nil {
			return nil, err
		}
		instances = slices.SortedFunc(slices.Values(instances), func(a, b discovery.Instance) int {
			return strings.Compare(tags(a), tags(b))
		})
		found := make([]string, len(instances))
		for i, in := range instances {
			found[i] = tags(in)
		}
		if slices.Equal(found, versions) {
			return instances, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("the instances of %s that are found have the tags %q after %v, want %q", service, found, patience, versions)
		}
	}
}

func tags(in discovery.Instance) string {
	if len(in.Tags) == 0 {
		return "-"
	}
	return version(link.Peer{Tags: in.Tags})
}

// identify makes the gateway call until both versions have answered. link chooses
// the version by the topology: v2 gets one call in ten.
func identify(ctx context.Context, m *mesh) error {
	const limit = 10 * time.Second
	answers := make(map[string]Answer)
	for began := time.Now(); len(answers) < 2 && time.Since(began) < limit; {
		a, err := reqrep.Call(ctx, m.node, LookUp, OrderQuery{ID: "o-1"})
		if err != nil {
			return err
		}
		answers[a.Version] = a
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	want := "spiffe://" + m.node.Identity().TrustDomain() + "/ns/" + m.namespace + "/svc/orders"
	rows := [][]string{{"TAG", "IDENTITY PROVEN BY ITS CERTIFICATE", "TLS", "KEY EXCHANGE"}}
	var err error
	for _, version := range []string{"v1", "v2"} {
		a, ok := answers[version]
		if !ok {
			return fmt.Errorf("%s answered no call within %v", version, limit)
		}
		rows = append(rows, []string{a.Version, a.Identity, a.TLS, a.KeyExchange})
		if a.Identity != want || a.TLS != "TLS 1.3" || a.KeyExchange != "X25519MLKEM768" {
			err = fmt.Errorf("%s answered otherwise than as %s over TLS 1.3 with X25519MLKEM768", version, want)
		}
	}
	m.table(rows)
	return err
}

// measure counts the calls that one caller and many callers of the gateway make.
func measure(ctx context.Context, m *mesh) error {
	rows := [][]string{{"CALLERS", "CALLS/S", "TIME PER CALL", "FAILED"}}
	for _, callers := range []int{1, 64} {
		if _, err := reqrep.Call(ctx, m.node, SetLoad, Load{Callers: callers}); err != nil {
			return err
		}
		// Let connections and caches warm up.
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		began := time.Now()
		before, err := m.count(ctx)
		if err != nil {
			return err
		}
		if err := pause(ctx, 700*time.Millisecond); err != nil {
			return err
		}
		after, err := m.count(ctx)
		if err != nil {
			return err
		}
		took := time.Since(began)
		calls := after.minus(before).total()
		if calls == 0 || after.Failed > 0 {
			return fmt.Errorf("%d calls answered and %d failed: %s", calls, after.Failed, after.Failure)
		}
		each := took * time.Duration(callers) / time.Duration(calls)
		rows = append(rows, []string{number(callers), number(int(float64(calls) / took.Seconds())), each.Round(time.Microsecond).String(), "0"})
	}
	m.table(rows)
	_, err := reqrep.Call(ctx, m.node, SetLoad, Load{})
	return err
}

// fail asks for an order that does not exist. The error travels from orders through
// the gateway to this process.
func fail(ctx context.Context, m *mesh) error {
	_, err := reqrep.Call(ctx, m.node, LookUp, OrderQuery{ID: "o-999"})
	if !errors.Is(err, link.NotFound) {
		return fmt.Errorf("got %w, want a link.NotFound", err)
	}
	var unknown UnknownOrderError
	if !errors.As(err, &unknown) || unknown != (UnknownOrderError{ID: "o-999", Newest: "o-1"}) {
		return fmt.Errorf("got the detail %w, want that o-999 is unknown and o-1 the newest", unknown)
	}
	m.fact("error", err.Error())
	m.fact("code", link.CodeOf(err).String()+", by errors.Is(err, link.NotFound)")
	m.fact("detail", unknown.Error()+", by errors.As(err, &unknown)")
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
