package consul

import (
	"context"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/backoff"
)

// Timing of heartbeats.
const (
	// heartbeatEvery is the interval of heartbeats, plus or minus 10 percent.
	heartbeatEvery = 5 * time.Second

	// checkTTL is the time without a heartbeat after which an instance is out.
	checkTTL = 15 * time.Second
)

// Backoff of heartbeats. The limits ensure that a forgotten registration is restored within 15 s of
// the agent's return. The limit is lower while the agent is unreachable, when a try costs it nothing.
const (
	beatRetryLeast = 500 * time.Millisecond

	// beatRetryGone is the maximum backoff while the agent cannot be reached.
	beatRetryGone = 5 * time.Second

	// beatRetryMost is the maximum backoff while the agent answers with errors.
	beatRetryMost = 15 * time.Second
)

// keep sends heartbeats until ctx ends, and repairs the registration.
func (g *registration) keep(ctx context.Context) {
	failures := 0
	var last kind
	// The first round verifies, because another process may have written after announce returned.
	var verify time.Time
	wait := around(heartbeatEvery, 0.1)
	for backoff.Sleep(ctx, wait) == nil {
		select {
		case <-g.turn:
		case <-ctx.Done():
			return
		}
		err := g.round(ctx, &verify)
		g.release()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if failures > 0 {
				g.r.lines.Info("consul registry: heartbeats arrive again", "id", g.id, "service", g.query)
			}
			failures, last, wait = 0, "", around(heartbeatEvery, 0.1)
			continue
		}
		failures++
		what := kindOf(err)
		if what == busy {
			g.r.overloaded(time.Now())
		}
		most := beatRetryMost
		if what == unreachable || what == hanging {
			most = beatRetryGone
		}
		wait = retryPause(failures, beatRetryLeast, most)
		if what != last {
			last = what
			g.r.lines.Warn("consul registry: heartbeat failed; Consul will take the instance out of service unless one succeeds",
				"id", g.id, "service", g.query, "within", checkTTL, "reason", err)
		}
	}
}

// round sends one heartbeat and verifies the registration if that is due. The caller has the turn.
func (g *registration) round(ctx context.Context, verify *time.Time) error {
	now := time.Now()
	if g.lost || g.behind || now.After(*verify) {
		if err := g.verify(ctx); err != nil {
			return err
		}
		*verify = now.Add(around(verifyEvery, 0.1))
		if g.lost {
			return nil
		}
	}
	err := g.r.client.beat(ctx, g.what("heartbeat of"), g)
	if err == nil || kindOf(err) != missing {
		return err
	}
	return g.verify(ctx)
}

// verify compares the agent's entry with the registration and writes it again if it is missing or
// was changed, unless the ID belongs to another process by now.
func (g *registration) verify(ctx context.Context) error {
	h, err := g.r.client.held(ctx, g.what("verify"), g)
	if err != nil {
		return err
	}
	switch {
	case h.foreign(g):
		g.lose(h)
		return nil
	case h.service != nil && h.owner == g.owner && sameAs(h.service, g.reg) && !g.behind && !h.gone(g.in):
		return nil
	}
	reason := "the agent had forgotten it"
	switch {
	case g.lost:
		reason = "the ID is free again"
	case g.behind:
		reason = "the agent had not taken all of the last update"
	case h.service != nil:
		reason = "it was changed or taken over"
	}
	if h.service == nil || h.owner != g.owner || !h.maintenance {
		g.maintenance = false
	}
	if err := g.push(ctx, g.what("register"), h.service != nil && h.owner != g.owner); err != nil {
		return err
	}
	g.lost = false
	g.r.lines.Warn("consul registry: instance registered again", "id", g.id, "service", g.query, "reason", reason)
	return nil
}

// foreign reports whether the ID of g belongs to another live registration.
func (h holding) foreign(g *registration) bool {
	return h.service != nil && h.live && h.owner != g.owner
}

// lose records that another process has taken over the ID, and logs it once.
func (g *registration) lose(h holding) {
	if g.lost {
		return
	}
	g.lost = true
	g.r.log.Error("consul registry: another process has registered this instance's ID, so this instance is not announced any more; "+
		"let each process make its ID with discovery.NewInstanceID",
		"id", g.id, "service", g.query, "by", printable(h.service.Service), "at", printable(h.service.Address), "port", h.service.Port)
}

// gone reports whether the entry lacks its heartbeat check or the maintenance mode of a draining
// instance.
func (h holding) gone(in discovery.Instance) bool {
	return !h.checked || in.Status == discovery.Draining && !h.maintenance
}
