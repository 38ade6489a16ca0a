package link

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// instance is one version of what is known of one instance of a service. A
// change makes a new one over the same state. Its tags are those that the
// instance confirmed, if it did.
type instance struct {
	discovery.Instance

	service *service
	peer    *transport.Peer
	state   *instanceState
	asked   bool // whoever listed it does not know its tags: what it says counts
}

// instanceState is what was learned of an instance.
type instanceState struct {
	leaving atomic.Int64 // until when, on the scale of package clock, it is not tried, because it said that it drains
	trouble atomic.Pointer[trouble]
}

// trouble is why an instance is not called for a while.
type trouble struct {
	err   error
	until time.Time
}

// left notes that the instance said that it drains.
func (in *instance) left() { in.state.leaving.Store(clock.Of(time.Now().Add(leaveTime))) }

// bar keeps calls away from an instance until a time.
func (in *instance) bar(e *endpoint, until time.Time, why error) {
	in.state.trouble.Store(&trouble{why, until})
	e.Bar(clock.Of(until))
}

// update collects what a snapshot changes.
type update struct {
	put    []balance.Item[*instance]
	remove []string
}

// apply makes the instances of a snapshot those that calls go to. What it
// allocates and changes is in proportion to what the snapshot changes. It
// reports whether it did, which takes the node's socket, and whether it holds
// instances that the snapshot lacks and must look again.
func (s *service) apply(snapshot discovery.Snapshot) (applied, holding bool) {
	e, err := s.node.socket()
	if err != nil {
		return false, false // the node is closed, or calls get this error themselves
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var u update
	gone := s.compareLocked(e, snapshot, &u)
	massive := len(gone) > 0 && len(gone)*2 > len(s.snapshot.Instances)
	for _, id := range gone {
		s.loseLocked(id, massive, now, &u)
	}
	s.noteStaleLocked(snapshot)
	s.snapshot = snapshot
	for id, since := range s.held {
		if !s.answersLocked(id, since, now) {
			s.dropLocked(id, &u)
		}
	}
	s.commitLocked(u, now)
	return true, len(s.held) > 0
}

// compareLocked walks through the instances of two snapshots, both sorted by
// ID. It returns those that are gone.
func (s *service) compareLocked(e *transport.Endpoint, next discovery.Snapshot, u *update) (gone []string) {
	old, fresh := s.snapshot.Instances, next.Instances
	sameOrigin := s.snapshot.Origin == next.Origin
	for len(old) > 0 && len(fresh) > 0 {
		switch a, b := &old[0], &fresh[0]; {
		case a.ID == b.ID:
			if !sameOrigin || !a.Equal(*b) {
				s.seeLocked(e, *b, next.Origin, u)
			}
			old, fresh = old[1:], fresh[1:]
		case a.ID < b.ID:
			gone, old = append(gone, a.ID), old[1:]
		default:
			s.seeLocked(e, *b, next.Origin, u)
			fresh = fresh[1:]
		}
	}
	for i := range old {
		gone = append(gone, old[i].ID)
	}
	for i := range fresh {
		s.seeLocked(e, fresh[i], next.Origin, u)
	}
	return gone
}

// seeLocked takes in an instance that is new or has changed.
func (s *service) seeLocked(e *transport.Endpoint, in discovery.Instance, origin discovery.Origin, u *update) {
	delete(s.held, in.ID)
	known := s.members[in.ID]
	if !s.allowedLocked(in, origin) {
		s.leftOut[in.ID] = true
		if known != nil {
			s.dropLocked(in.ID, u)
		}
		return
	}
	delete(s.leftOut, in.ID)
	next := &instance{Instance: in, service: s, asked: in.TagsUnknown}
	if known == nil && origin != discovery.FromConfig {
		defer func() { next.peer.Expect(in.ID) }()
	}
	if known != nil && known.Addr == in.Addr {
		next.peer, next.state = known.peer, known.state
	} else {
		if known != nil { // another process, of which nothing is known
			known.peer.Release()
			u.remove = append(u.remove, in.ID)
		}
		next.peer = e.Peer(s.identity.String(), in.Addr, transport.PeerConfig{TLS: s.clientTLS, Tags: s.confirm, MayDial: s.mayDial})
		next.state = new(instanceState)
		if known == nil {
			next.peer.Renew()
		}
	}
	settleTags(next, origin)
	s.warnOfPlaceLocked(next)
	s.members[in.ID] = next
	s.putLocked(next, u)
}

// settleTags decides whose word on the tags counts: the instance's own, while
// there is a connection to it. Its registry may have been written to by others.
// What this process was configured with it believes, as far as that goes.
func settleTags(in *instance, origin discovery.Origin) {
	if origin == discovery.FromConfig && !in.asked {
		return
	}
	if said, ok := in.peer.Said(); ok {
		in.Tags, in.TagsUnknown = tagSet(said), false
	}
}

// warnOfPlaceLocked says once for a service that an instance of it says two places, or
// one without a name. No node announces that, but a list made by hand may say it, and others.
func (s *service) warnOfPlaceLocked(in *instance) {
	err := in.ValidatePlace()
	if err == nil || !s.sayLocked("places") {
		return
	}
	s.node.cfg.Logger.Warn("link: an instance does not say clearly where it is; until it does, the first place in the alphabet counts, and one without a name does not",
		"service", s.name, "instance", in.ID, "error", err, "zone", in.Zone(), "region", in.Region(), "dc", in.Datacenter())
}

// tagSet returns tags sorted and each once, as instances have them.
func tagSet(tags []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(tags)))
}

// putLocked makes the balancer's set agree with an instance that is known.
func (s *service) putLocked(in *instance, u *update) {
	if in.Status != discovery.Serving {
		u.remove = append(u.remove, in.ID)
		return
	}
	u.put = append(u.put, balance.Item[*instance]{Key: in.ID, Value: in, Weight: uint32(in.Weight), Zone: in.Zone()})
}

// loseLocked deals with an instance that the registry no longer shows. The
// registry may be ill, or may have been told wrong: an instance whose
// authenticated connection answers, and that does not drain, outranks it and is
// held. A list that this process was configured with is believed, unless most of
// it vanishes at once; and the registry of this host always, which loses an instance
// when the kernel says that its process is gone.
func (s *service) loseLocked(id string, massive bool, now time.Time, u *update) {
	delete(s.leftOut, id)
	in := s.members[id]
	if in == nil {
		return
	}
	in.peer.Probe()
	doubtful := s.snapshot.Origin == discovery.FromNetwork || s.snapshot.Origin == discovery.FromConfig && massive
	if in.Status == discovery.Serving && doubtful && in.live() {
		if len(s.held) == 0 {
			s.node.cfg.Logger.Warn("link: the registry no longer shows instances that are connected; it may be ill, so they stay in use while their connections answer",
				"service", s.name, "instance", id, "for", holdTime)
		}
		s.held[id] = now
		return
	}
	s.dropLocked(id, u)
}

// configured reports whether the instances are those that this process was
// configured with.
func (s *service) configured() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot.Origin == discovery.FromConfig
}

// live reports whether there is a connection that takes work.
func (in *instance) live() bool {
	return in.peer.Live(transport.ClassCalls) != nil || in.peer.Live(transport.ClassBulk) != nil
}

// answersLocked reports whether a held instance stays: while its connection
// answers, for holdTime, and after that, if others write to the registry, until it
// shows another instance that is connected.
func (s *service) answersLocked(id string, since, now time.Time) bool {
	return s.members[id].live() &&
		(now.Sub(since) < holdTime || s.snapshot.Origin == discovery.FromNetwork && !s.othersLiveLocked())
}

// othersLiveLocked reports whether an instance that the registry shows has a
// connection.
func (s *service) othersLiveLocked() bool {
	for id, in := range s.members {
		if _, held := s.held[id]; !held && in.Status == discovery.Serving && in.live() {
			return true
		}
	}
	return false
}

func (s *service) dropLocked(id string, u *update) {
	s.members[id].peer.Release()
	delete(s.members, id)
	delete(s.held, id)
	u.remove = append(u.remove, id)
}

// commitLocked hands the changes to the balancer and wakes who waits for them.
func (s *service) commitLocked(u update, now time.Time) {
	if len(u.put) > 0 {
		delete(s.said, saidWait)
	}
	if len(u.put) > 0 || len(u.remove) > 0 {
		s.set.Update(u.put, u.remove, clock.Of(now))
	}
	s.view.Load().noteEmptyLocked()
	s.wakeLocked()
}

// wakeLocked wakes who waits for a change of the instances.
func (s *service) wakeLocked() {
	close(s.change)
	s.change = make(chan struct{})
}

// heardFromLocked lets calls go again to the instances at an address, from where there
// is a sign of life: a new connection, mostly.
func (s *service) heardFromLocked(addr string) {
	now := clock.Now()
	for id, in := range s.members {
		if in.Addr != addr {
			continue
		}
		if e, ok := s.set.Lookup(id); ok {
			e.Heard(now)
		}
	}
}

// confirm takes in the tags that an instance says it has, on each connection to
// it and when they change. From then on the registry's word does not count.
func (s *service) confirm(addr string, tags []string) {
	tags = tagSet(tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heardFromLocked(addr)
	configured := s.snapshot.Origin == discovery.FromConfig
	var u update
	for id, in := range s.members { // connections are made, and tags change, seldom
		if in.Addr != addr || configured && !in.asked || !in.TagsUnknown && slices.Equal(in.Tags, tags) {
			continue
		}
		if !in.asked {
			s.node.cfg.Logger.Debug("link: the registry's tags of an instance are not its own; the instance is believed",
				"service", s.name, "instance", id, "registry", in.Tags, "instance_tags", tags)
		}
		next := *in
		next.Tags, next.TagsUnknown = tags, false
		s.warnOfPlaceLocked(&next)
		s.members[id] = &next
		s.putLocked(&next, &u)
	}
	if len(u.put)+len(u.remove) > 0 {
		s.commitLocked(u, time.Now())
	}
}

// forgetPause is how long what instances said of their tags stands, at least, when a
// call finds nobody by it.
const forgetPause = 5 * time.Second

// forgetTags lets go of the tags that instances said which are not connected any more:
// other processes with other tags may be at their addresses. It is for calls that
// find nobody, and reports whether there is somebody to ask again.
func (s *service) forgetTags(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.forgot) < forgetPause {
		return false
	}
	s.forgot = now
	var u update
	for id, in := range s.members {
		if !in.asked || in.TagsUnknown {
			continue
		}
		if _, ok := in.peer.Said(); ok {
			continue
		}
		next := *in
		next.Tags, next.TagsUnknown = nil, true
		s.members[id] = &next
		s.putLocked(&next, &u)
	}
	if len(u.put) == 0 {
		return false
	}
	s.commitLocked(u, now)
	return true
}

// allowedLocked reports whether an instance may be dialed, whatever a registry
// says, and logs once if not.
func (s *service) allowedLocked(in discovery.Instance, origin discovery.Origin) bool {
	why, fix := s.node.refused(in, origin)
	if why != "" && !s.leftOut[in.ID] {
		s.node.cfg.Logger.Warn("link: instance left out: "+why, "service", s.name, "instance", in.ID, "addr", in.Addr, "fix", fix)
	}
	return why == ""
}

// noteStaleLocked says once that the registry is ill, and once that it is well
// again, however many services are looked for in it.
func (s *service) noteStaleLocked(next discovery.Snapshot) {
	log, stale := s.node.cfg.Logger, &s.node.services.stale
	switch {
	case next.Stale && !s.snapshot.Stale:
		level := slog.LevelDebug
		if stale.Add(1) == 1 {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "link: the registry cannot be read; the last known instances stay in use",
			"service", s.name, "registry", describeRegistry(s.node.registry), "reason", next.Reason, "instances", len(next.Instances))
	case !next.Stale && s.snapshot.Stale:
		level := slog.LevelDebug
		if stale.Add(-1) == 0 {
			level = slog.LevelInfo
		}
		log.Log(context.Background(), level, "link: the registry can be read again", "service", s.name, "instances", len(next.Instances))
	}
}

func (s *service) releaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.members {
		in.peer.Release()
	}
	s.members = nil
	if s.snapshot.Stale {
		s.node.services.stale.Add(-1)
	}
}
