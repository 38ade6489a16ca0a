package link

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Probe says whether what a tag stands for is there: nil if it is. It must
// return when ctx ends, which is after [ProbeTimeout]. A panic counts as an
// error, and so does each [ProbeInterval] in which a probe goes on after that.
type Probe func(ctx context.Context) error

// How Config.Monitors works.
const (
	// ProbeInterval is the time between two runs of one probe.
	ProbeInterval = time.Second
	// ProbeTimeout is how long one run may take before it counts as failed.
	ProbeTimeout = time.Second
	// ProbeAgree is how many runs in a row must say otherwise before the tag
	// appears or goes: one hiccup moves no traffic. The first run counts at once.
	ProbeAgree = 2
)

// probeStuck is how long Close waits for a probe that ignores its context.
const probeStuck = 5 * time.Second

// monitors keeps the tags of a node in step with its probes.
type monitors struct {
	node *Node
}

// watch runs every probe once, so that the node is announced with the right
// tags, and then for as long as the node lives.
func (m *monitors) watch(ctx context.Context) {
	probes := m.node.cfg.Monitors
	if len(probes) == 0 {
		return
	}
	var first sync.WaitGroup
	for tag, probe := range probes {
		first.Add(1)
		if !m.node.group.Go(func(ctx context.Context) { m.follow(ctx, tag, probe, first.Done) }) {
			first.Done()
		}
	}
	all := make(chan struct{})
	go func() { first.Wait(); close(all) }() // each ends within ProbeTimeout
	select {
	case <-all:
	case <-ctx.Done():
	}
}

// follow runs one probe until ctx ends.
func (m *monitors) follow(ctx context.Context, tag string, probe Probe, first func()) {
	ticker := time.NewTicker(ProbeInterval)
	defer ticker.Stop()
	v := verdict{tag: tag}
	for run := 0; ; run++ {
		ended, err := m.run(ctx, tag, probe)
		if ctx.Err() != nil {
			if run == 0 {
				first()
			}
			m.abandon(tag, ended)
			return
		}
		m.judge(&v, err)
		if run == 0 {
			first()
		}
		for hangs := true; hangs; { // at most one run at a time
			select {
			case <-ended:
				hangs = false
			case <-ticker.C: // one that ends late, or never, is a failed run each time
				m.judge(&v, errProbeHangs)
			case <-ctx.Done():
				m.abandon(tag, ended)
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

// verdict is what the runs of a probe have said so far.
type verdict struct {
	tag     string
	begun   bool
	against int // runs in a row that say otherwise than the tag
}

// judge takes in a run, and lets the tag follow when enough agree.
func (m *monitors) judge(v *verdict, err error) {
	v.against++
	if v.begun && m.node.tags.has(v.tag) == (err == nil) {
		v.against = 0
	}
	if !v.begun || v.against >= ProbeAgree {
		v.against = 0
		m.set(v.tag, err, !v.begun)
	}
	v.begun = true
}

// run runs a probe once, at most for ProbeTimeout. The channel is closed when
// the probe has returned.
func (m *monitors) run(ctx context.Context, tag string, probe Probe) (ended <-chan struct{}, err error) {
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
		select {
		case err = <-result: // it returned in the same moment
		default:
			err = fmt.Errorf("no result after %v", ProbeTimeout)
		}
	}
	return done, err
}

// abandon waits for a probe that is still running when the node closes.
func (m *monitors) abandon(tag string, ended <-chan struct{}) {
	t := time.NewTimer(probeStuck)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		m.node.cfg.Logger.Error("link: a probe of Config.Monitors ignores that its context ended, and was left behind", "tag", tag)
	}
}

func (m *monitors) set(tag string, err error, first bool) {
	m.node.tags.probe(tag, err == nil)
	log := m.node.cfg.Logger
	switch {
	case err != nil:
		log.Warn("link: tag withdrawn, its probe fails", "tag", tag, "error", err)
	case !first:
		log.Info("link: tag announced, its probe succeeds", "tag", tag)
	}
}
