package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/topology"
)

const (
	// policyPoll is how often the topology file is checked for changes.
	policyPoll = time.Second
	// policyWait is how long the first call to a service waits for the document
	// that its registry may keep: a registry that is down must not stop calls.
	policyWait = 2 * time.Second
)

// policies combines the topology documents: the file, then those of the registry,
// then Config.Routing.Topology; later ones override earlier ones. An invalid document
// leaves in force what was in force. A document of the registry that is not
// compatible with others waits until it is. The maps are keyed by origin, except
// said.
type policies struct {
	router *Router
	now    atomic.Pointer[policy.Policy]

	poll sync.Once

	mu sync.Mutex // guards the fields below; taken before service.mu
	// layers are in force; waiting are not compatible with those.
	layers  map[string]policy.Layer
	waiting map[string]policy.Layer
	// owners are the followers that put the layers of the registry in force.
	owners map[string]*follower
	// problems are why documents did not come into force.
	problems map[string]*problem
	// stale is why documents of the registry cannot be read. A document without a known origin has a key of its own.
	stale   map[string]staleness
	version fileVersion
	// said is what was logged about documents that ask for more than they may.
	said map[string]bool
}

// staleness is why a document of the registry cannot be read, and the follower that found out.
type staleness struct {
	reason string
	by     *follower
}

// problem is why a document is not in force.
type problem struct {
	err error
	at  time.Time
}

// The origins of documents that are not in a registry.
const (
	originCode = "Config.Routing.Topology"
	originFile = "Config.Routing.TopologyFile"
)

// current returns the policy in force, nil if there is no document.
func (p *policies) current() *policy.Policy { return p.now.Load() }

// load reads the documents that the configuration names. Its error is the first
// that a user sees about an invalid document.
func (p *policies) load() error {
	p.layers, p.problems = make(map[string]policy.Layer), make(map[string]*problem)
	p.stale, p.owners, p.waiting = make(map[string]staleness), make(map[string]*follower), make(map[string]policy.Layer)
	if doc := p.router.cfg.Topology.Code; doc != nil {
		p.layers[originCode] = policy.Layer{Origin: originCode, Document: doc, Trusted: true}
	}
	if path := p.router.cfg.Topology.File; path != "" {
		doc, version, err := readPolicy(path)
		if err != nil {
			return errorf(codes.InvalidArgument, "Config.Routing.TopologyFile (or LINK_TOPOLOGY): %w", err)
		}
		p.layers[originFile] = policy.Layer{Origin: path, Document: doc, Trusted: true}
		p.version = version
	}
	policy, err := p.compile(p.layers)
	if err != nil {
		return errorf(codes.InvalidArgument, "topology: %w", err)
	}
	p.now.Store(policy)
	return nil
}

// adopt gives a service the policy in force.
func (p *policies) adopt(s *Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	policy := p.current()
	if v := s.view.Load(); v == nil || v.policy != policy || v.at != p.router.locality() {
		s.setPolicy(policy)
		p.reach(s.name, policy)
	}
}

// reach begins to watch the services that calls to the named service may end at,
// so that their instances are known when calls fail over.
func (p *policies) reach(name string, policy *policy.Policy) {
	for _, other := range policy.Services(name)[1:] {
		p.router.cfg.Group.Go(func(context.Context) {
			if _, err := p.router.Service(other); err != nil {
				p.router.cfg.Logger.Error("link: a service that the topology names cannot be watched", "service", other, "named_for", name, "error", err)
			}
		})
	}
}

// watchFile begins to follow the topology file. Only the first call acts.
func (p *policies) watchFile() {
	path := p.router.cfg.Topology.File
	if path == "" {
		return
	}
	p.poll.Do(func() {
		p.router.cfg.Group.Go(func(ctx context.Context) {
			ticker := time.NewTicker(policyPoll)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					p.refresh(path)
				}
			}
		})
	})
}

// refresh reads the file again if it has changed. A missing file leaves in force
// what is.
func (p *policies) refresh(path string) {
	p.mu.Lock()
	last := p.version
	p.mu.Unlock()
	if version, err := versionOf(path); err == nil && version == last {
		return
	}
	doc, version, err := readPolicy(path)
	if errors.Is(err, errUnsettled) {
		return
	}
	p.mu.Lock()
	p.version = version
	p.mu.Unlock()
	p.replace(originFile, &policy.Layer{Origin: path, Document: doc, Trusted: true}, err)
}

// fileVersion identifies a version of a file.
type fileVersion struct {
	size     int64
	modified time.Time
}

func versionOf(path string) (fileVersion, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileVersion{}, err
	}
	return fileVersion{info.Size(), info.ModTime()}, nil
}

// errUnsettled means that a file changed while it was read.
var errUnsettled = errors.New("changed while it was read")

func readPolicy(path string) (*topology.Document, fileVersion, error) {
	before, err := versionOf(path)
	if err != nil {
		return nil, fileVersion{}, err
	}
	f, err := os.Open(path) //nolint:gosec // the path is the user's own
	if err != nil {
		return nil, fileVersion{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limits.MaxDocument+1))
	if err != nil {
		return nil, fileVersion{}, err
	}
	if after, err := versionOf(path); err != nil || after != before {
		return nil, fileVersion{}, fmt.Errorf("%s: %w", path, errUnsettled)
	}
	doc, err := topology.Parse(path, data)
	return doc, before, err
}

// watchRegistry follows the registry's document about a service, if the registry
// keeps documents. The channel is closed when its first answer has been taken in.
func (p *policies) watchRegistry(ctx context.Context, query discovery.Query) (ruled <-chan struct{}) {
	known := make(chan struct{})
	w, ok := p.router.cfg.Registry.(discovery.PolicyWatcher)
	if !ok {
		close(known)
		return known
	}
	ch, err := w.WatchPolicy(ctx, query)
	if err != nil {
		p.router.cfg.Logger.Warn("link: cannot follow the topology in the registry", "service", query.Service, "error", err)
		close(known)
		return known
	}
	f := &follower{policies: p, service: query.Service}
	if !p.router.cfg.Group.Go(func(context.Context) { f.follow(ctx, ch, known) }) {
		close(known)
	}
	return known
}

// follower follows the registry's document about one service, for as long as the node knows the service. A service that
// is forgotten and known again has another follower, which may begin before the first has ended.
type follower struct {
	policies *policies
	service  string
	// origin is where the document is from, "" until there was one.
	origin string
	// stale is the key in policies.stale, "" if the follower has no entry there.
	stale string
}

func (f *follower) follow(ctx context.Context, ch <-chan discovery.PolicyDocument, known chan struct{}) {
	first := true
	for policy := range ch {
		f.take(ctx, policy)
		if first {
			first = false
			close(known)
		}
	}
	if first {
		close(known)
	}
	f.leave()
}

// take puts the registry's document in force, unless ctx, the lifetime of the service, has ended: another follower may
// have begun. A document that cannot be read, or is invalid, leaves in force what is.
func (f *follower) take(ctx context.Context, written discovery.PolicyDocument) {
	if written.Origin != "" {
		f.origin = written.Origin
	}
	var doc *topology.Document
	var err error
	if written.Document != nil {
		doc, err = topology.Parse(f.origin, written.Document)
	}
	p := f.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	f.noteStaleLocked(written)
	switch {
	case written.Document != nil:
		p.owners[f.origin] = f
		p.replaceLocked(f.origin, &policy.Layer{Origin: f.origin, Document: doc, Only: f.service}, err)
	case !written.Stale && p.hasLocked(f.origin):
		delete(p.owners, f.origin)
		p.replaceLocked(f.origin, nil, nil)
	}
}

// leave removes what this follower has put in force, but not what another one has.
func (f *follower) leave() {
	p := f.policies
	if p.router.cfg.Group.Context().Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f.noteStaleLocked(discovery.PolicyDocument{})
	if p.owners[f.origin] != f {
		return
	}
	delete(p.owners, f.origin)
	p.replaceLocked(f.origin, nil, nil)
}

// noteStaleLocked records that the registry's document about a service cannot be read, or
// can again. It logs the former once for all services.
func (f *follower) noteStaleLocked(policy discovery.PolicyDocument) {
	p := f.policies
	first := len(p.stale) == 0
	if p.stale[f.stale].by == f {
		delete(p.stale, f.stale)
	}
	if !policy.Stale {
		return
	}
	if f.stale = f.origin; f.stale == "" {
		f.stale = f.service + " in " + Describe(p.router.cfg.Registry)
	}
	if first {
		p.router.cfg.Logger.Warn("link: the registry's topology cannot be read; the last known version stays in force", "service", f.service, "reason", policy.Reason)
	}
	p.stale[f.stale] = staleness{policy.Reason, f}
}

func (p *policies) hasLocked(origin string) bool {
	_, ok := p.layers[origin]
	return ok || p.problems[origin] != nil
}
