//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
)

const (
	// settleTime is how long ago a directory must have changed for its time stamp to be trusted:
	// within the granularity of the stamps (1 s on old file systems) a later change may not show.
	settleTime = 2 * time.Second

	// relistEvery is how often the directory is listed though its time stamp says nothing changed.
	relistEvery = 5 * time.Second

	// replacedTries is how often a file that is replaced while it is looked at is looked at again.
	replacedTries = 3
)

// scanner remembers what the files said, so that a scan reads only what changed. It belongs to one
// goroutine.
type scanner struct {
	dir   directory
	coder coder
	log   *limitedLog

	entries map[string]*entry // by ID
	ids     []string          // keys of entries, sorted

	listed   fs.FileInfo // the directory when it was listed last
	listedAt time.Time
	crowded  bool // more than MaxFiles, said so already
	cut      map[discovery.Query]bool
}

// entry is one version of one file.
type entry struct {
	version fileVersion // zero: never read
	unfit   bool        // not to be trusted, and logged
	in      discovery.Instance
	query   discovery.Query
}

// settled says that e holds an instance.
func (e *entry) settled() bool { return !e.unfit && e.version != fileVersion{} }

func newScanner(dir directory, c coder, log *limitedLog) *scanner {
	return &scanner{dir: dir, coder: c, log: log, entries: make(map[string]*entry), cut: make(map[discovery.Query]bool)}
}

// scan brings the entries up to date and reports whether any of them changed. Instances nobody
// watches are looked at only when the directory changed.
func (s *scanner) scan(watched map[discovery.Query]bool) (changed bool, err error) {
	info, err := s.dir.stat()
	if err != nil {
		return false, err
	}
	return s.scanAt(info, watched)
}

// scanAt is scan for a directory that has been checked.
func (s *scanner) scanAt(info fs.FileInfo, watched map[discovery.Query]bool) (changed bool, err error) {
	all := s.mustList(info)
	if all {
		if changed, err = s.list(info); err != nil {
			return false, err
		}
	}
	gone := false
	for _, id := range s.ids {
		e := s.entries[id]
		if !all && e.settled() && !watched[e.query] {
			continue
		}
		next := s.check(id, e)
		if next == e {
			continue
		}
		changed = true
		if next == nil {
			delete(s.entries, id)
			gone = true
			continue
		}
		s.entries[id] = next
	}
	if gone {
		s.ids = slices.DeleteFunc(s.ids, func(id string) bool { return s.entries[id] == nil })
	}
	return changed, nil
}

func (s *scanner) mustList(info fs.FileInfo) bool {
	return s.listed == nil ||
		!os.SameFile(s.listed, info) ||
		!s.listed.ModTime().Equal(info.ModTime()) ||
		s.listedAt.Sub(info.ModTime()) < settleTime ||
		time.Since(s.listedAt) >= relistEvery
}

// list adds entries for new files, which have yet to be checked. It drops none: a listing may miss
// a file that is replaced at that moment, whereas the check of its path cannot.
func (s *scanner) list(info fs.FileInfo) (changed bool, err error) {
	at := time.Now()
	names, more, err := s.dir.list()
	if err != nil {
		return false, err
	}
	s.listed, s.listedAt = info, at
	if more && !s.crowded {
		s.log.warn("local registry: directory is too full, some instances are not seen; remove what does not belong there",
			"path", s.dir.path, "limit", MaxFiles)
	}
	s.crowded = more
	for _, name := range names {
		if strings.HasPrefix(name, stagedPrefix) {
			s.dir.sweep(name)
			continue
		}
		id, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		if s.entries[id] == nil {
			s.entries[id], changed = &entry{}, true
			s.ids = append(s.ids, id)
		}
	}
	slices.Sort(s.ids)
	return changed, nil
}

// check looks at the file of one instance. It returns e if nothing changed, nil if there is no
// live instance, and otherwise a new entry.
func (s *scanner) check(id string, e *entry) *entry {
	path := s.dir.file(id + suffix)
	for range replacedTries {
		h, version, err := openFile(path)
		if isMissing(err) {
			return nil
		}
		if errors.Is(err, errUnfit) {
			return s.skip(path, version, e, err)
		}
		if err != nil {
			return s.trouble(path, e, err)
		}
		next, again := s.inspect(h, e)
		h.close()
		if !again {
			return next
		}
	}
	return e
}

// inspect is check for an open file; again says that the file has been replaced meanwhile.
func (s *scanner) inspect(h *handle, e *entry) (next *entry, again bool) {
	next = e
	if e.version != h.version {
		next = s.load(h, e)
	}
	if next.unfit || !h.abandoned() {
		return next, false
	}
	if !h.current() {
		return e, true
	}
	h.reap()
	return nil, false
}

func (s *scanner) load(h *handle, e *entry) *entry {
	data, err := h.read()
	if err != nil {
		return s.trouble(h.path, e, err)
	}
	in, err := s.coder.parseFile(filepath.Base(h.path), data)
	if err != nil {
		return s.skip(h.path, h.version, e, err)
	}
	return &entry{version: h.version, in: in, query: in.Query()}
}

// skip remembers that a version of a file is not to be trusted, and says so once.
func (s *scanner) skip(path string, version fileVersion, e *entry, reason error) *entry {
	if e.unfit && e.version == version {
		return e
	}
	s.log.warn("local registry: file skipped; remove it unless its writer is still at work", "path", path, "reason", reason)
	return &entry{version: version, unfit: true}
}

// trouble is for errors that say nothing about the file, such as running out of descriptors: what
// was known stays, and the next scan tries again.
func (s *scanner) trouble(path string, e *entry, reason error) *entry {
	if e.settled() {
		return e
	}
	return s.skip(path, fileVersion{}, e, reason)
}

// instances returns what q selects, sorted by ID, in a slice of its own.
func (s *scanner) instances(q discovery.Query) []discovery.Instance {
	var found []discovery.Instance
	for _, id := range s.ids {
		if e := s.entries[id]; e.settled() && e.query == q {
			found = append(found, e.in)
		}
	}
	cut := len(found) > discovery.MaxInstances
	if cut && !s.cut[q] {
		s.log.warn("local registry: too many instances of one service, the rest is left out",
			"service", q.String(), "found", len(found), "limit", discovery.MaxInstances)
	}
	if cut {
		s.cut[q] = true
		return slices.Clip(found[:discovery.MaxInstances])
	}
	delete(s.cut, q)
	return found
}

// services returns the services that have an instance with each tag, sorted. They are those of the
// last scan: an update or an end that a process sees to changes the directory, and the file of one
// that died is noticed when the directory is listed, after relistEvery at most.
func (s *scanner) services(tags []discovery.TagQuery) map[discovery.TagQuery][]string {
	if len(tags) == 0 {
		return nil
	}
	found := make(map[discovery.TagQuery][]string, len(tags))
	for _, q := range tags {
		found[q] = nil
	}
	for _, id := range s.ids {
		e := s.entries[id]
		if !e.settled() {
			continue
		}
		for _, tag := range e.in.Tags {
			q := discovery.TagQuery{Tag: tag, Namespace: e.in.Namespace}
			if services, wanted := found[q]; wanted {
				found[q] = append(services, e.in.Service)
			}
		}
	}
	for q, services := range found {
		slices.Sort(services)
		found[q] = slices.Compact(services)
	}
	return found
}
