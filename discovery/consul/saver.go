package consul

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
)

const (
	saveEvery   = 5 * time.Second    // between writes
	resaveAfter = time.Hour          // a state that does not change is written again, for its time
	stateMaxAge = 7 * 24 * time.Hour // older ones are not used, and removed
	maxStates   = 10_000             // files a cleanup looks at, and states that wait to be written
	stateSuffix = ".cbor"
)

// saver keeps the last known instances on disk. All its files are written by one goroutine, so that
// no watch waits for a disk. It is safe for concurrent use; a nil saver keeps nothing.
type saver struct {
	dir   string
	coder coder
	log   *limitedLog
	wake  chan struct{}

	mu    sync.Mutex // guards the fields below
	dirty map[stateKey]dirtyState
}

type dirtyState struct {
	members []member
	at      time.Time
}

func newSaver(dir string, log *limitedLog) (*saver, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // a nil saver is one that keeps nothing
	}
	c, err := newCoder()
	if err != nil {
		return nil, err
	}
	return &saver{dir: dir, coder: c, log: log, wake: make(chan struct{}, 1), dirty: make(map[stateKey]dirtyState)}, nil
}

// put has members, which must not change any more, written soon. None removes the file.
func (s *saver) put(key stateKey, members []member, at time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if _, ok := s.dirty[key]; ok || len(s.dirty) < maxStates {
		s.dirty[key] = dirtyState{members: members, at: at}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what is left.
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
		select {
		case <-ctx.Done():
		case <-time.After(saveEvery):
		}
	}
}

func (s *saver) flush() {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = make(map[stateKey]dirtyState)
	s.mu.Unlock()
	for key, d := range dirty {
		if err := s.write(key, d); err != nil {
			s.log.warn("consul registry: the last known instances cannot be kept on disk", "service", key.Query, "reason", err)
		}
	}
}

func (s *saver) path(key stateKey) string {
	h := sha256.New()
	for _, part := range []string{key.Agent, key.Namespace, key.Partition, key.Datacenter, key.Query} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return filepath.Join(s.dir, hex.EncodeToString(h.Sum(nil)[:16])+stateSuffix)
}

// write puts a whole file in the place of the old one.
func (s *saver) write(key stateKey, d dirtyState) error {
	path := s.path(key)
	if len(d.members) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := s.coder.encode(key, d.members, d.at)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, ".state-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// load returns what is known of q, which is nothing on any error. It reads a file and belongs off
// the usual path.
func (s *saver) load(key stateKey, q discovery.Query, now time.Time) ([]member, time.Time) {
	if s == nil {
		return nil, time.Time{}
	}
	path := s.path(key)
	members, at, err := s.read(path, key, q)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}
	}
	if err == nil && now.Sub(at) > stateMaxAge {
		err = fmt.Errorf("is of %s, older than %v", at.Format(time.RFC3339), stateMaxAge)
	}
	if err != nil {
		s.log.warn("consul registry: state file is left out", "service", key.Query, "path", path, "reason", err)
		return nil, time.Time{}
	}
	return members, at
}

func (s *saver) read(path string, key stateKey, q discovery.Query) ([]member, time.Time, error) {
	// Looked at before it is opened, as opening a pipe would wait.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, time.Time{}, fmt.Errorf("%w: its mode is %v, want a file of mode 0600", errState, info.Mode())
	}
	f, err := os.Open(path) //nolint:gosec // a name made by this package, in the user's own directory
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxStateFile+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	return s.coder.decode(data, key, q)
}

// clean removes the files of services that nobody has watched for long.
func (s *saver) clean() {
	dir, err := os.Open(s.dir)
	if err != nil {
		return // there is nothing yet
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxStates)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) <= stateMaxAge {
			continue
		}
		if strings.HasSuffix(e.Name(), stateSuffix) || strings.HasPrefix(e.Name(), ".state-") {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // the next start tries again
		}
	}
}
