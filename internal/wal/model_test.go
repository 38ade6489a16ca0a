package wal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/race"
)

// errPower is returned by every call after the power has been cut.
var errPower = errors.New("power cut")

// shadow is a real folder that tracks which part of it is on the disk, and cuts the power at a chosen call.
type shadow struct {
	folder

	mu   sync.Mutex // guards the fields below
	rand *rand.Rand
	// left is how many calls remain until the power is cut. A negative value means never.
	left int
	dead bool
	// seen holds the files by the names that the process sees, kept by the names that are on the disk.
	seen   map[string]*inode
	kept   map[string]*inode
	undone []func(map[string]*inode)
	// after is what is on the disk after the cut.
	after map[string][]byte
}

// inode is a file. data is what the process sees, synced what is certainly on the disk.
type inode struct {
	data   []byte
	synced []byte
}

// newShadow makes a folder with the given files.
func newShadow(tb testing.TB, files map[string][]byte, rnd *rand.Rand, left int) *shadow {
	tb.Helper()
	s := &shadow{folder: newFolder(tb), rand: rnd, left: left, seen: map[string]*inode{}, kept: map[string]*inode{}}
	for name, data := range files {
		if err := os.WriteFile(s.Path(name), data, filePerm); err != nil {
			tb.Fatal(err)
		}
		s.seen[name] = &inode{data: bytes.Clone(data), synced: bytes.Clone(data)}
	}
	maps.Copy(s.kept, s.seen)
	return s
}

// step counts a call and returns errPower from the cut on. The caller holds mu.
func (s *shadow) step() error {
	if s.left--; s.left == 0 {
		s.cutLocked()
	}
	if s.dead {
		return errPower
	}
	return nil
}

// cut cuts the power now and returns what is on the disk.
func (s *shadow) cut() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dead {
		s.cutLocked()
	}
	return s.after
}

func (s *shadow) cutLocked() {
	s.dead = true
	s.after = make(map[string][]byte)
	// Changes of names reach the disk in order. Contents reach it in any order.
	for _, change := range s.undone[:s.rand.IntN(len(s.undone)+1)] {
		change(s.kept)
	}
	for _, name := range slices.Sorted(maps.Keys(s.kept)) {
		s.after[name] = s.survivor(s.kept[name])
	}
}

// survivor returns what a cut leaves of a file: what was synced, and a random part of the rest.
func (s *shadow) survivor(n *inode) []byte {
	if len(n.data) <= len(n.synced) || !bytes.HasPrefix(n.data, n.synced) {
		// The file was truncated, which may not have reached the disk yet.
		return [][]byte{n.synced, n.data}[s.rand.IntN(2)]
	}
	rest := n.data[len(n.synced):]
	kept := bytes.Clone(rest[:s.rand.IntN(len(rest)+1)])
	lost := len(rest) - len(kept)
	switch s.rand.IntN(4) {
	case 0:
		// The file has its new size, but not its data.
		kept = append(kept, make([]byte, lost)...)
	case 1:
		for range s.rand.IntN(lost + 1) {
			kept = append(kept, byte(s.rand.Uint32()))
		}
	case 2:
		kept = bytes.Clone(rest)
	}
	return slices.Concat(n.synced, kept)
}

func (s *shadow) create(name string) (file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(); err != nil {
		return nil, err
	}
	f, err := s.folder.create(name)
	if err != nil {
		return nil, err
	}
	n := &inode{}
	s.seen[name] = n
	s.undone = append(s.undone, func(kept map[string]*inode) { kept[name] = n })
	return &shadowFile{f, s, n}, nil
}

func (s *shadow) open(name string) (file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(); err != nil {
		return nil, err
	}
	f, err := s.folder.open(name)
	if err != nil {
		return nil, err
	}
	return &shadowFile{f, s, s.seen[name]}, nil
}

func (s *shadow) rename(from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(); err != nil {
		return err
	}
	s.seen[to] = s.seen[from]
	delete(s.seen, from)
	s.undone = append(s.undone, func(kept map[string]*inode) {
		kept[to] = kept[from]
		delete(kept, from)
	})
	return s.folder.rename(from, to)
}

func (s *shadow) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(); err != nil {
		return err
	}
	delete(s.seen, name)
	s.undone = append(s.undone, func(kept map[string]*inode) { delete(kept, name) })
	return s.folder.remove(name)
}

func (s *shadow) syncDir() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(); err != nil {
		return err
	}
	for _, change := range s.undone {
		change(s.kept)
	}
	s.undone = nil
	return nil
}

type shadowFile struct {
	file
	s *shadow
	n *inode
}

func (f *shadowFile) WriteAt(b []byte, offset int64) (int, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if err := f.s.step(); err != nil {
		return 0, err
	}
	f.n.data = append(f.n.data[:offset:offset], b...)
	return f.file.WriteAt(b, offset)
}

func (f *shadowFile) Truncate(size int64) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if err := f.s.step(); err != nil {
		return err
	}
	f.n.data = f.n.data[:size:size]
	return f.file.Truncate(size)
}

func (f *shadowFile) Sync() error {
	f.s.mu.Lock()
	if err := f.s.step(); err != nil {
		f.s.mu.Unlock()
		return err
	}
	// A sync does not cover data that is written while it runs.
	data := f.n.data
	f.s.mu.Unlock()
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.dead {
		return errPower
	}
	f.n.synced = data
	return nil
}

func TestNoCrashLosesOrInventsARecord(t *testing.T) {
	schedules, crashes := race.Fewer[uint64](40, 8), 20
	if testing.Short() {
		schedules = 5
	}
	compacted := uint64(0)
	for seed := range schedules {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			m := &model{tb: t, rand: rand.New(rand.NewPCG(seed, 0))}
			if err := m.run(crashes); err != nil {
				t.Fatal(err)
			}
			if m.figures.Removed == 0 {
				t.Errorf("no segment was removed: %+v", m.figures)
			}
			if m.figures.Copies > 0 {
				compacted++
			}
		})
	}
	// Records are copied beside the schedules, so on one processor that may not have its turn in one of them.
	if compacted < schedules/2 {
		t.Errorf("records were copied in %d of %d schedules, want half of them", compacted, schedules)
	}
}

// appended is a record that a schedule appended, and the position at which it ends.
type appended struct {
	Record
	end Position
}

// model runs a schedule of appends, ends and commits on a log, with crashes.
type model struct {
	tb      testing.TB
	rand    *rand.Rand
	log     *Log
	shadow  *shadow
	history []appended
	nextID  uint64
	live    []uint64
	// durable is what Durable returned when the power was last cut.
	durable Position
	crashes int
	figures Stats
}

// run runs a schedule before each crash, and returns an error if a check fails.
func (m *model) run(crashes int) error {
	files := map[string][]byte{}
	for m.crashes = range crashes {
		m.shadow = newShadow(m.tb, files, rand.New(rand.NewPCG(m.rand.Uint64(), 0)), 1+m.rand.IntN(300))
		found := make(state)
		opts, err := Options{SegmentBytes: MinSegmentBytes + m.rand.Int64N(8<<10)}.withDefaults()
		if err != nil {
			return err
		}
		m.log, err = open(m.shadow.Path(""), m.shadow, opts, found.replay)
		if err == nil {
			if err := m.check(found); err != nil {
				return err
			}
			err = m.schedule()
			if err == nil || m.rand.IntN(2) == 0 {
				// Close writes a mark if the power is still on.
				_ = m.log.Close()
			}
			m.shadow.cut()
			_ = m.log.Close()
			m.durable = m.log.Durable()
			m.figures.Removed += m.log.Stats().Removed
			m.figures.Copies += m.log.Stats().Copies
		}
		if err != nil && !errors.Is(err, errPower) {
			return err
		}
		files = m.shadow.cut()
		if err := m.shadow.Close(); err != nil {
			return err
		}
	}
	return nil
}

// schedule appends a random number of batches and commits some of them, until the power is cut.
func (m *model) schedule() error {
	for range m.rand.IntN(200) {
		batch := make([]Record, 1+m.rand.IntN(3))
		for i := range batch {
			batch[i] = m.record()
		}
		end, err := m.log.Append(batch...)
		if err != nil {
			return err
		}
		at := end
		for _, r := range batch {
			at -= Position(recordSize(len(r.Body)))
		}
		for _, r := range batch {
			at += Position(recordSize(len(r.Body)))
			m.history = append(m.history, appended{r, at})
		}
		if m.rand.IntN(4) == 0 {
			if err := m.log.Commit(m.tb.Context(), end); err != nil {
				return err
			}
		}
	}
	return nil
}

// record returns a random record: the first of a new ID, another one of a live ID, or the end of an ID.
func (m *model) record() Record {
	r := Record{Kind: byte(m.rand.IntN(256)), Body: body(m.rand.IntN(400), byte('a'+m.rand.IntN(26)))}
	choice := m.rand.IntN(10)
	if len(m.live) == 0 || choice < 4 {
		m.nextID++
		r.ID = m.nextID
		m.live = append(m.live, r.ID)
		return r
	}
	i := m.rand.IntN(len(m.live))
	// Mostly young IDs are used, so that old segments have few live records.
	if m.rand.IntN(3) > 0 {
		i = len(m.live) - 1 - m.rand.IntN(min(3, len(m.live)))
	}
	r.ID = m.live[i]
	if choice > 5 {
		r.End = true
		m.live = slices.Delete(m.live, i, i+1)
	}
	return r
}

// check compares what was found after a crash with the history up to where the log now ends.
func (m *model) check(found state) error {
	end := m.log.Recovery().End
	if end < m.durable {
		return fmt.Errorf("crash %d: the log ends at %d, and was durable to %d", m.crashes, end, m.durable)
	}
	want := make(map[uint64][]string)
	m.history = slices.DeleteFunc(m.history, func(a appended) bool { return a.end > end })
	for _, a := range m.history {
		if a.End {
			delete(want, a.ID)
		} else {
			want[a.ID] = append(want[a.ID], fmt.Sprintf("%d:%s", a.Kind, a.Body))
		}
	}
	if diff := cmp.Diff(want, found.records()); diff != "" {
		return fmt.Errorf("crash %d: replayed (-want +got):\n%s", m.crashes, diff)
	}
	if got := m.log.Stats(); got.LiveIDs != len(want) {
		return fmt.Errorf("crash %d: %d live IDs, want %d", m.crashes, got.LiveIDs, len(want))
	}
	// Other IDs must not be used again.
	m.live = slices.Sorted(maps.Keys(want))
	return nil
}
