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
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/internal/limitlog"
)

const (
	// settleTime is the age of a directory's last change from which its time stamp is trusted. Within
	// the granularity of time stamps (1 s on old file systems), a later change may not be visible.
	settleTime = 2 * time.Second

	// relistEvery is how often the directory is listed even if its time stamp has not changed.
	relistEvery = 5 * time.Second

	// replacedTries is the number of tries to read a file that is being replaced.
	replacedTries = 3
)

// scanner caches the contents of the files, so that a scan reads only changed ones. It belongs to one
// goroutine.
type scanner struct {
	dir   directory
	coder coder
	log   *limitlog.Logger

	// entries is keyed by ID. ids are its keys, sorted.
	entries map[string]*entry
	ids     []string

	// listed is the directory's FileInfo at the time of the last listing, listedAt.
	listed   fs.FileInfo
	listedAt time.Time

	// crowded means that the directory has more than maxFiles entries, and that this was logged.
	crowded bool

	// cut holds the queries for which too many instances were logged.
	cut map[discovery.Query]bool
}

// entry is one version of one file.
type entry struct {
	// version is zero if the file was not read yet.
	version fileVersion

	// unfit means that the file is not trusted, and that this was logged.
	unfit bool
	in    discovery.Instance
	query discovery.Query
}

// settled reports whether e holds an instance.
func (e *entry) settled() bool { return !e.unfit && e.version != fileVersion{} }

func newScanner(dir directory, c coder, log *limitlog.Logger) *scanner {
	return &scanner{dir: dir, coder: c, log: log, entries: make(map[string]*entry), cut: make(map[discovery.Query]bool)}
}

// scan updates the entries and reports whether any of them changed. Instances that are not watched
// are checked only when the directory is listed.
func (s *scanner) scan(watched map[discovery.Query]bool) (changed bool, err error) {
	info, err := s.dir.stat()
	if err != nil {
		return false, err
	}
	return s.scanAt(info, watched)
}

// scanAt is like scan, for a directory that was already checked.
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

// list adds entries for new files, which are not checked yet. It removes none: a listing may miss a
// file that is being replaced, but a check of its path cannot.
func (s *scanner) list(info fs.FileInfo) (changed bool, err error) {
	at := time.Now()
	names, more, err := s.dir.list()
	if err != nil {
		return false, err
	}
	s.listed, s.listedAt = info, at
	if more && !s.crowded {
		s.log.Warn("local registry: the directory has too many files, so some instances are not seen; remove those that do not belong there",
			"path", s.dir.path, "limit", maxFiles)
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

// check examines the file of one instance. It returns e if nothing changed, nil if there is no
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

// inspect is like check, for an open file. again means that the file was replaced meanwhile.
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

// skip records that a version of a file is not trusted, and logs it once.
func (s *scanner) skip(path string, version fileVersion, e *entry, reason error) *entry {
	if e.unfit && e.version == version {
		return e
	}
	s.log.Warn("local registry: file skipped; remove it unless its writer is still at work", "path", path, "reason", reason)
	return &entry{version: version, unfit: true}
}

// trouble handles errors that are not about the file, such as running out of descriptors: a known
// instance stays, and the next scan tries again.
func (s *scanner) trouble(path string, e *entry, reason error) *entry {
	if e.settled() {
		return e
	}
	return s.skip(path, fileVersion{}, e, reason)
}

// instances returns the instances that q selects, sorted by ID, in a new slice.
func (s *scanner) instances(q discovery.Query) []discovery.Instance {
	var found []discovery.Instance
	for _, id := range s.ids {
		if e := s.entries[id]; e.settled() && e.query == q {
			found = append(found, e.in)
		}
	}
	cut := len(found) > bounds.MaxInstances
	if cut && !s.cut[q] {
		s.log.Warn("local registry: too many instances of one service; the others are left out",
			"service", q.String(), "found", len(found), "limit", bounds.MaxInstances)
	}
	if cut {
		s.cut[q] = true
		return slices.Clip(found[:bounds.MaxInstances])
	}
	delete(s.cut, q)
	return found
}

// services returns the services that have an instance with each tag, sorted, as of the last scan.
// Updates and withdrawals change the directory. The file of a dead process is noticed when the
// directory is listed, after relistEvery at most.
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
