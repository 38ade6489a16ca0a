package router

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// instance is one version of what is known about an instance of a service. A
// change makes a new version over the same state. Its tags are those that the
// instance itself has confirmed, if it has.
type instance struct {
	discovery.Instance

	service *Service
	peer    *transport.Peer
	state   *instanceState
	// asked means that the registry does not know the tags, so those that the instance announces count.
	asked bool
}

// update collects the changes to the balancer.
type update struct {
	put    []balance.Item[*instance]
	remove []string
}

// apply makes calls go to the instances of a snapshot. What it allocates and
// changes is in proportion to what the snapshot changes. It reports whether the
// snapshot was applied, which takes the node's socket, and whether instances that
// the snapshot lacks are held, so that it must be applied again later.
func (s *Service) apply(snapshot discovery.Snapshot) (applied, holding bool) {
	e, err := s.router.cfg.Endpoint()
	if err != nil {
		// The node is closed, or calls get this error themselves.
		return false, false
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

// compareLocked compares the instances of two snapshots, both sorted by ID. It
// returns the IDs of those that are gone.
func (s *Service) compareLocked(e *transport.Endpoint, next discovery.Snapshot, u *update) (gone []string) {
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
func (s *Service) seeLocked(e *transport.Endpoint, in discovery.Instance, origin discovery.Origin, u *update) {
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
		// Another address means another process, about which nothing is known.
		if known != nil {
			known.peer.Release()
			u.remove = append(u.remove, in.ID)
		}
		next.peer = e.Peer(s.identity.String(), in.Addr, transport.PeerConfig{TLS: s.tls, Tags: s.confirm, MayDial: s.mayDial})
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

// settleTags decides which tags count: those that the instance announces, while
// there is a connection to it, because others may have written to the registry.
// Tags in a list that this process was configured with are believed.
func settleTags(in *instance, origin discovery.Origin) {
	if origin == discovery.FromConfig && !in.asked {
		return
	}
	if said, ok := in.peer.Said(); ok {
		in.Tags, in.TagsUnknown = tagSet(said), false
	}
}

// warnOfPlaceLocked logs once per service that an instance names two places, or one without
// a name. No node announces that, but a handwritten list or another program may.
func (s *Service) warnOfPlaceLocked(in *instance) {
	err := in.ValidatePlace()
	if err == nil || !s.sayLocked("places") {
		return
	}
	s.router.cfg.Logger.Warn("link: an instance announces no clear place; until that is fixed, the first of its places in alphabetical order counts, and an unnamed one is ignored",
		"service", s.name, "instance", in.ID, "error", err, "zone", in.Zone(), "region", in.Region(), "dc", in.Datacenter())
}

// tagSet returns tags sorted and without duplicates, as instances have them.
func tagSet(tags []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(tags)))
}

// putLocked adds to u what makes the balancer's set agree with a known instance.
func (s *Service) putLocked(in *instance, u *update) {
	if in.Status != discovery.Serving {
		u.remove = append(u.remove, in.ID)
		return
	}
	u.put = append(u.put, balance.Item[*instance]{Key: in.ID, Value: in, Weight: uint32(in.Weight), Zone: in.Zone()})
}

// loseLocked handles an instance that the registry no longer shows. The registry
// may be faulty, or may have been told something wrong: an instance that does not
// drain and whose authenticated connection answers outranks it and is held. A list
// that this process was configured with is believed, unless most of it vanishes at
// once. The registry of this host is always believed, because it loses an instance
// when the kernel says that its process is gone.
func (s *Service) loseLocked(id string, massive bool, now time.Time, u *update) {
	delete(s.leftOut, id)
	in := s.members[id]
	if in == nil {
		return
	}
	in.peer.Probe()
	doubtful := s.snapshot.Origin == discovery.FromNetwork || s.snapshot.Origin == discovery.FromConfig && massive
	if in.Status == discovery.Serving && doubtful && in.live() {
		if len(s.held) == 0 {
			s.router.cfg.Logger.Warn("link: the registry no longer lists connected instances; it may be faulty, so they stay in use while they answer",
				"service", s.name, "instance", id, "for", holdTime)
		}
		s.held[id] = now
		return
	}
	s.dropLocked(id, u)
}

// configured reports whether the instances come from a list that this process was
// configured with.
func (s *Service) configured() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot.Origin == discovery.FromConfig
}

// live reports whether there is a connection that takes calls.
func (in *instance) live() bool {
	return in.peer.Live(transport.ClassCalls) != nil || in.peer.Live(transport.ClassBulk) != nil
}

// answersLocked reports whether a held instance stays. It stays for holdTime while
// its connection answers. If others can write to the registry, it also stays after
// that, until the registry shows another instance that is connected.
func (s *Service) answersLocked(id string, since, now time.Time) bool {
	return s.members[id].live() &&
		(now.Sub(since) < holdTime || s.snapshot.Origin == discovery.FromNetwork && !s.othersLiveLocked())
}

// othersLiveLocked reports whether an instance that the registry shows has a
// connection.
func (s *Service) othersLiveLocked() bool {
	for id, in := range s.members {
		if _, held := s.held[id]; !held && in.Status == discovery.Serving && in.live() {
			return true
		}
	}
	return false
}

func (s *Service) dropLocked(id string, u *update) {
	s.members[id].peer.Release()
	delete(s.members, id)
	delete(s.held, id)
	u.remove = append(u.remove, id)
}

// commitLocked passes the changes to the balancer and wakes the calls that wait for them.
func (s *Service) commitLocked(u update, now time.Time) {
	if len(u.put) > 0 {
		delete(s.said, saidWait)
	}
	if len(u.put) > 0 || len(u.remove) > 0 {
		s.set.Update(u.put, u.remove, clock.Of(now))
	}
	s.view.Load().noteEmptyLocked()
	s.wakeLocked()
}

// wakeLocked wakes the calls and followers that wait for a change of the instances.
func (s *Service) wakeLocked() {
	s.change.All()
}

// heardFromLocked lets calls go again to the instances at an address that gave a sign of
// life, usually a new connection.
func (s *Service) heardFromLocked(addr string) {
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

// confirm takes in the tags that an instance announces, on each connection to it
// and when they change. From then on the registry's tags do not count.
func (s *Service) confirm(addr string, tags []string) {
	tags = tagSet(tags)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heardFromLocked(addr)
	configured := s.snapshot.Origin == discovery.FromConfig
	var u update
	// A full scan is cheap enough: connections are made, and tags change, rarely.
	for id, in := range s.members {
		if in.Addr != addr || configured && !in.asked || !in.TagsUnknown && slices.Equal(in.Tags, tags) {
			continue
		}
		if !in.asked {
			s.router.cfg.Logger.Debug("link: the registry's tags for an instance differ from those it reports; its own are used",
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

// forgetPause is the least time between two times that a service forgets the tags of
// its instances.
const forgetPause = 5 * time.Second

// forgetTags forgets the tags that were announced by instances that are no longer
// connected: other processes with other tags may be at their addresses. It is for calls
// that find no instance, and reports whether there are instances to ask again.
func (s *Service) forgetTags(now time.Time) bool {
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

// tls returns the configuration for one dial: whatever discovery says, the peer must prove the identity of the service.
func (s *Service) tls() *tls.Config { return s.router.cfg.TLS(s.identity) }

// allowedLocked reports whether an instance may be dialed, whatever a registry
// says, and logs once if not.
func (s *Service) allowedLocked(in discovery.Instance, origin discovery.Origin) bool {
	why, fix := s.router.refused(in, origin)
	if why != "" && !s.leftOut[in.ID] {
		s.router.cfg.Logger.Warn("link: instance left out: "+why, "service", s.name, "instance", in.ID, "addr", in.Addr, "fix", fix)
	}
	return why == ""
}

// noteStaleLocked logs once that the registry cannot be read, and once that it can
// again, however many services are watched in it.
func (s *Service) noteStaleLocked(next discovery.Snapshot) {
	log, stale := s.router.cfg.Logger, &s.router.services.stale
	switch {
	case next.Stale && !s.snapshot.Stale:
		level := slog.LevelDebug
		if stale.Add(1) == 1 {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "link: the registry cannot be read; the last known instances stay in use",
			"service", s.name, "registry", Describe(s.router.cfg.Registry), "reason", next.Reason, "instances", len(next.Instances))
	case !next.Stale && s.snapshot.Stale:
		level := slog.LevelDebug
		if stale.Add(-1) == 0 {
			level = slog.LevelInfo
		}
		log.Log(context.Background(), level, "link: the registry can be read again", "service", s.name, "instances", len(next.Instances))
	}
}

func (s *Service) releaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.members {
		in.peer.Release()
	}
	s.members = nil
	if s.snapshot.Stale {
		s.router.services.stale.Add(-1)
	}
}
