//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// look is like stat, for a directory that other processes use: it checks the directory but does not
// create it.
func (d directory) look() (info fs.FileInfo, err error) {
	for _, path := range d.made {
		if info, err = os.Lstat(path); err != nil {
			return nil, err
		}
		if err = safe(path, info, dirLoose); err != nil {
			return nil, err
		}
	}
	return info, nil
}

// scanTwin updates the entries of the other directory. Processes of this user that began while another
// user had the usual directory, or after that, use the other one of the two. The other directory
// rarely exists, and then for a while. If it cannot be read or does not belong to the user, it counts
// as empty.
func (p *poller) scanTwin(watched map[discovery.Query]bool) (changed bool) {
	t := p.twin
	if t == nil || len(t.entries) == 0 && time.Since(p.twinAt) < relistEvery {
		return false
	}
	p.twinAt = time.Now()
	changed = t.scanLent(watched)
	if len(t.entries) > 0 && !p.split {
		p.registry.log.Warn("local registry: the processes of this user are registered in two directories, because somebody else had the usual one for a while; "+
			"they find each other. Restart those of the other directory to bring them together",
			"path", p.registry.dir.path, "other", t.dir.path)
	}
	p.split = len(t.entries) > 0
	return changed
}

// scanLent is like scan, for a directory that may not exist.
func (s *scanner) scanLent(watched map[discovery.Query]bool) (changed bool) {
	info, err := s.dir.look()
	if err == nil {
		if changed, err = s.scanAt(info, watched); err == nil {
			return changed
		}
	}
	changed = len(s.entries) > 0
	clear(s.entries)
	s.ids, s.listed = nil, nil
	return changed
}

// instances is like scanner.instances, for both directories.
func (p *poller) instances(q discovery.Query) []discovery.Instance {
	all := p.scanner.instances(q)
	if p.twin == nil {
		return all
	}
	more := p.twin.instances(q)
	if len(more) == 0 {
		return all
	}
	all = append(all, more...)
	// The sort is stable, so that an instance of this directory wins over one with the same ID.
	slices.SortStableFunc(all, discovery.Instance.Compare)
	all = slices.CompactFunc(all, func(a, b discovery.Instance) bool { return a.ID == b.ID })
	return slices.Clip(all[:min(len(all), bounds.MaxInstances)])
}

// services returns the services that have an instance with each tag in either directory, sorted.
func (p *poller) services(tags []discovery.TagQuery) map[discovery.TagQuery][]string {
	found := p.scanner.services(tags)
	if p.twin == nil {
		return found
	}
	for q, more := range p.twin.services(tags) {
		if len(more) > 0 {
			all := append(found[q], more...)
			slices.Sort(all)
			found[q] = slices.Compact(all)
		}
	}
	return found
}
