package presence

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// The timing of Config.Monitors.
const (
	// ProbeInterval is the time between two runs of one probe.
	ProbeInterval = time.Second
	// ProbeTimeout is how long one run may take before it counts as failed.
	ProbeTimeout = time.Second
	// ProbeAgree is how many runs in a row must disagree with the tag before it
	// appears or goes, so that one hiccup moves no traffic. The first run counts
	// at once.
	ProbeAgree = 2
)

// probeStuck is how long Close waits for a probe that ignores its context.
const probeStuck = 5 * time.Second

// watch starts the probes, which run for as long as the node lives. It waits for the
// first run of each, so that the node is announced with the right tags.
func (p *Presence) watch(ctx context.Context) {
	probes := p.cfg.Probes
	if len(probes) == 0 {
		return
	}
	var first sync.WaitGroup
	for tag, probe := range probes {
		first.Add(1)
		if !p.cfg.Group.Go(func(ctx context.Context) { p.follow(ctx, tag, probe, first.Done) }) {
			first.Done()
		}
	}
	all := make(chan struct{})
	// This goroutine ends, because each first run ends within ProbeTimeout.
	go func() { first.Wait(); close(all) }()
	select {
	case <-all:
	case <-ctx.Done():
	}
}

// follow runs one probe until ctx ends. It calls first after the first run.
func (p *Presence) follow(ctx context.Context, tag string, probe func(ctx context.Context) error, first func()) {
	ticker := time.NewTicker(ProbeInterval)
	defer ticker.Stop()
	v := verdict{tag: tag}
	for run := 0; ; run++ {
		ended, err := p.run(ctx, tag, probe)
		if ctx.Err() != nil {
			if run == 0 {
				first()
			}
			p.abandon(tag, ended)
			return
		}
		p.judge(&v, err)
		if run == 0 {
			first()
		}
		// Wait for the end of the run, so that there is at most one at a time.
		for hangs := true; hangs; {
			select {
			case <-ended:
				hangs = false
			case <-ticker.C:
				// A run that goes on counts as a failed run at each tick.
				p.judge(&v, errProbeHangs)
			case <-ctx.Done():
				p.abandon(tag, ended)
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

var errProbeHangs = fmt.Errorf("no result after %v, and it ignores that its context ended", ProbeTimeout)

// verdict is the result of the runs of a probe so far.
type verdict struct {
	tag   string
	begun bool
	// against counts the runs in a row that disagree with the tag.
	against int
}

// judge takes in the result of a run, and changes the tag when enough runs agree.
func (p *Presence) judge(v *verdict, err error) {
	v.against++
	if v.begun && p.has(v.tag) == (err == nil) {
		v.against = 0
	}
	if !v.begun || v.against >= ProbeAgree {
		v.against = 0
		p.set(v.tag, err, !v.begun)
	}
	v.begun = true
}

// run runs a probe once and waits for its result, at most for ProbeTimeout. The
// channel is closed when the probe has returned.
func (p *Presence) run(ctx context.Context, tag string, probe func(ctx context.Context) error) (ended <-chan struct{}, err error) {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		defer func() {
			if r := recover(); r != nil {
				result <- fmt.Errorf("probe of %q panicked: %v", tag, r)
			}
		}()
		result <- probe(ctx)
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		// The probe may have returned at the same moment.
		select {
		case err = <-result:
		default:
			err = fmt.Errorf("no result after %v", ProbeTimeout)
		}
	}
	return done, err
}

// abandon waits for a probe that still runs when the node closes, at most for
// probeStuck.
func (p *Presence) abandon(tag string, ended <-chan struct{}) {
	t := time.NewTimer(probeStuck)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		p.cfg.Logger.Error("link: a probe of Config.Monitors ignores that its context ended, and was left behind", "tag", tag)
	}
}

func (p *Presence) set(tag string, err error, first bool) {
	p.probe(tag, err == nil)
	log := p.cfg.Logger
	switch {
	case err != nil:
		log.Warn("link: tag withdrawn, its probe fails", "tag", tag, "error", err)
	case !first:
		log.Info("link: tag announced, its probe succeeds", "tag", tag)
	}
}
