//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"context"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// poller is the state of a Registry's goroutine, which reads the directory for the watches and
// maintains the files of the registrations.
type poller struct {
	registry *Registry
	scanner  *scanner

	// twin reads the other directory. It is nil if there is none. twinAt is when it was last read, and
	// split means that it contained instances.
	twin   *scanner
	twinAt time.Time
	split  bool

	// failure is why the last scan failed, or "".
	failure string

	// unkept is why the directory could not be repaired, or "".
	unkept string
}

func (p *poller) run(ctx context.Context) {
	ticker := time.NewTicker(p.registry.every)
	defer ticker.Stop()
	for {
		tick := ticker.C
		// Without work, wait for wake.
		if !p.round(ctx) {
			tick = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		case <-p.registry.wake:
		}
	}
}

// round does one round of work. It reports whether there are registrations or watches.
func (p *poller) round(ctx context.Context) bool {
	mine := p.registry.open()
	if len(mine) > 0 && p.keep() {
		for _, g := range mine {
			p.repair(ctx, g)
		}
	}
	var w wanted
	w.find(p.registry)
	if w.any() {
		p.refresh(&w)
	}
	return len(mine) > 0 || w.any()
}

// keep repairs the directory if necessary and reports whether it is usable.
func (p *poller) keep() bool {
	closed, err := p.registry.dir.keep()
	for _, path := range closed {
		p.scanner.log.Warn("local registry: directory was open to other users, who could read or plant instances; access was restricted again", "path", path)
	}
	if err == nil {
		if p.unkept != "" {
			p.unkept = ""
			p.registry.log.Info("local registry: directory is in order again", "path", p.registry.dir.path)
		}
		return true
	}
	if text := err.Error(); text != p.unkept {
		p.unkept = text
		p.registry.log.Error("local registry: the directory cannot be used as it is, so others may not find the instances of this process",
			"path", p.registry.dir.path, "reason", err)
	}
	return false
}

func (p *poller) repair(ctx context.Context, g *registration) {
	changed, err := g.repair(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.scanner.log.Warn("local registry: own file is gone or changed and cannot be written again", "id", g.id, "reason", err)
	case changed != "":
		p.scanner.log.Warn("local registry: somebody changed this instance's file; it was written again", "id", g.id, "reason", changed)
	}
}

// wanted holds the queries of all watches.
type wanted struct {
	services []discovery.Query
	tags     []discovery.TagQuery

	// waiting means that a watch has not received anything yet.
	waiting bool
}

func (w *wanted) find(r *Registry) {
	var a, b bool
	w.services, a = r.feed.Queries()
	w.tags, b = r.names.Queries()
	w.waiting = a || b
}

func (w *wanted) any() bool { return len(w.services)+len(w.tags) > 0 }

func (p *poller) refresh(w *wanted) {
	watched := make(map[discovery.Query]bool, len(w.services))
	for _, q := range w.services {
		watched[q] = true
	}
	changed, err := p.scanner.scan(watched)
	changed = p.scanTwin(watched) || changed
	if err != nil {
		if text := err.Error(); text != p.failure {
			p.failure = text
			p.registry.log.Error("local registry: cannot be read; the last known instances stay in use",
				"path", p.registry.dir.path, "reason", err)
		}
		p.registry.feed.Stale("the directory cannot be read: " + err.Error())
		p.registry.names.Unread()
		return
	}
	if p.failure != "" {
		p.failure, changed = "", true
		p.registry.log.Info("local registry: can be read again", "path", p.registry.dir.path)
	}
	if !changed && !w.waiting {
		return
	}
	for _, q := range w.services {
		p.registry.feed.Publish(q, p.instances(q))
	}
	for q, services := range p.services(w.tags) {
		if left := p.registry.names.Publish(q, services); left > 0 {
			p.scanner.log.Warn("local registry: too many services have one tag; the others are left out",
				"tag", q.String(), "found", len(services), "limit", bounds.MaxServices)
		}
	}
}
