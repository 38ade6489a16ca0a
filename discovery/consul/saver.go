package consul

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/limitlog"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/private"
)

const (
	// saveEvery is the minimum interval between writes.
	saveEvery = 5 * time.Second

	// resaveAfter is when an unchanged state is written again, to update its time.
	resaveAfter = time.Hour

	// stateMaxAge is the age beyond which saved instances are not used but removed.
	stateMaxAge = 7 * 24 * time.Hour

	// maxStates limits the files that a cleanup examines, and the files that wait to be written.
	maxStates   = 20_000
	stateSuffix = ".cbor"
	tempPrefix  = ".state-"
)

// saver keeps the last known instances and policies on disk. One goroutine writes all files, so that
// no watch waits for the disk. It is safe for concurrent use; a nil saver keeps nothing.
type saver struct {
	dir   string
	coder coder
	log   *limitlog.Logger
	wake  notify.Flag

	mu    sync.Mutex           // guards the fields below
	dirty map[string]dirtyFile // by path
}

// dirtyFile is a file that waits to be written or, if encode is nil, to be removed.
type dirtyFile struct {
	key    stateKey
	encode func() ([]byte, error)
}

func newSaver(dir string, log *limitlog.Logger) (*saver, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // a nil saver is one that keeps nothing
	}
	c, err := newCoder()
	if err != nil {
		return nil, err
	}
	return &saver{dir: dir, coder: c, log: log, wake: notify.NewFlag(), dirty: make(map[string]dirtyFile)}, nil
}

// put schedules members to be written. They must not be modified afterwards. If there are none, the
// file is removed.
func (s *saver) put(key stateKey, members []member, at time.Time) {
	if s == nil {
		return
	}
	d := dirtyFile{key: key}
	if len(members) > 0 {
		d.encode = func() ([]byte, error) { return s.coder.encode(key, members, at) }
	}
	s.enqueue(s.path(key), d)
}

func (s *saver) enqueue(path string, d dirtyFile) {
	s.mu.Lock()
	if _, ok := s.dirty[path]; ok || len(s.dirty) < maxStates {
		s.dirty[path] = d
	}
	s.mu.Unlock()
	s.wake.Set()
}

// run writes files until ctx ends, and then the remaining ones.
func (s *saver) run(ctx context.Context) {
	first := true
	for {
		select {
		case <-ctx.Done():
			s.flush()
			return
		case <-s.wake:
		}
		if first {
			first = false
			s.clean()
		}
		s.flush()
		// The loop sees whether ctx has ended.
		_ = backoff.Sleep(ctx, saveEvery)
	}
}

func (s *saver) flush() {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = make(map[string]dirtyFile)
	s.mu.Unlock()
	for path, d := range dirty {
		if err := s.write(path, d); err != nil {
			s.log.Warn("consul registry: the last known state cannot be saved to disk", "service", d.key.Query, "path", path, "reason", err)
		}
	}
}

// path returns the path of the file with the instances.
func (s *saver) path(key stateKey) string { return s.stem(key) + stateSuffix }

func (s *saver) stem(key stateKey) string {
	h := sha256.New()
	for _, part := range []string{key.Agent, key.Namespace, key.Partition, key.Datacenter, key.Query} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return filepath.Join(s.dir, hex.EncodeToString(h.Sum(nil)[:16]))
}

// write replaces a file as a whole, or removes it.
func (s *saver) write(path string, d dirtyFile) error {
	if d.encode == nil {
		return s.remove(filepath.Base(path))
	}
	data, err := d.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), private.FolderMode); err != nil {
		return err
	}
	folder, _, err := private.Make(s.dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Write(filepath.Base(path), tempPrefix, data)
}

// remove removes a file. It returns nil if there is none.
func (s *saver) remove(name string) error {
	folder, err := private.Open(s.dir)
	if err == nil {
		defer folder.Close()
		err = folder.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// load returns the saved instances of q, or nil on any error. It reads a file, so do not call it on a
// hot path.
func (s *saver) load(key stateKey, q discovery.Query, now time.Time) (members []member, at time.Time) {
	if s == nil {
		return nil, time.Time{}
	}
	path := s.path(key)
	data, err := s.read(path, maxStateFile)
	if err == nil {
		members, at, err = s.coder.decode(data, key, q)
	}
	if !s.usable(path, key, at, stateMaxAge, now, err) {
		return nil, time.Time{}
	}
	return members, at
}

// usable reports whether a file that was read with err may be used. It logs the reason if not, except
// for a missing file.
func (s *saver) usable(path string, key stateKey, at time.Time, most time.Duration, now time.Time, err error) bool {
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil && now.Sub(at) > most {
		err = fmt.Errorf("it is from %s, more than %v ago", at.Format(time.RFC3339), most)
	}
	if err != nil {
		s.log.Warn("consul registry: state file ignored", "service", key.Query, "path", path, "reason", err)
	}
	return err == nil
}

// read returns the content of a file of at most limit bytes that belongs to the user.
func (s *saver) read(path string, limit int64) ([]byte, error) {
	folder, err := private.Open(s.dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return folder.Read(filepath.Base(path), limit)
}

// clean removes the files of services that have not been watched for a long time.
func (s *saver) clean() {
	folder, err := private.Open(s.dir)
	// The folder does not exist yet, or the next write reports the error.
	if err != nil {
		return
	}
	defer folder.Close()
	names, err := folder.Names(maxStates)
	if err != nil {
		return
	}
	for _, name := range names {
		most := stateMaxAge
		switch {
		case strings.HasSuffix(name, policySuffix):
			most = policyMaxAge
		case !strings.HasSuffix(name, stateSuffix) && !strings.HasPrefix(name, tempPrefix):
			continue
		}
		info, err := folder.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) <= most {
			continue
		}
		// The next start retries a failed removal.
		_ = folder.Remove(name)
	}
}
