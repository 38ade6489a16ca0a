//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// keep makes and checks the directories again, for a process that has instances in them, and
// closes those that somebody has opened to others meanwhile: readers refuse them as they are. It
// returns the paths it closed. Before anything is registered a loose directory is refused instead,
// as nobody knows yet whose it is.
func (d directory) keep() (closed []string, err error) {
	if err = d.prepare(); !errors.Is(err, ErrUnsafeDir) {
		return nil, err
	}
	for _, path := range d.made {
		if tighten(path) {
			closed = append(closed, path)
		}
	}
	if len(closed) == 0 {
		return nil, err
	}
	return closed, d.prepare()
}

// tighten closes a directory of ours to others and reports whether it was open and no longer is.
// What went wrong otherwise is for prepare to say.
func tighten(path string) bool {
	//nolint:gosec // a directory of the registry, and links are not followed
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&dirLoose == 0 {
		return false
	}
	return f.Chmod(info.Mode()&^dirLoose) == nil // fails for a directory of somebody else
}

// repair puts the file in order if somebody has removed or changed it. It returns what was wrong
// with a file that was changed, "" for one that was removed or is in order. It does not wait for
// its turn, as whoever has it puts the file in order.
//
// An error is returned once; until the file is in order again, later ones are not.
func (g *registration) repair(ctx context.Context) (changed string, err error) {
	select {
	case <-g.turn:
	default:
		return "", nil
	}
	defer g.release()
	if g.closed {
		return "", nil
	}
	if leadsTo(g.registry.dir.file(g.name), inode(g.file)) {
		if changed = g.spoiled(); changed == "" {
			g.reported = false
			return "", nil
		}
	}
	file, err := g.registry.dir.replace(ctx, g.name, g.file, g.data)
	if err != nil {
		if g.reported {
			return "", nil
		}
		g.reported = ctx.Err() == nil
		return "", err
	}
	g.adopt(file)
	return changed, nil
}

// spoiled says what is wrong with the file that this process holds, "" if readers trust it and
// find in it what was written.
func (g *registration) spoiled() string {
	var st unix.Stat_t
	if err := unix.Fstat(int(g.file.Fd()), &st); err != nil {
		return "cannot be examined: " + err.Error()
	}
	if reason := unfit(&st); reason != "" {
		return reason
	}
	version := versionOf(&st)
	if version == g.intact {
		return ""
	}
	data, err := io.ReadAll(io.NewSectionReader(g.file, 0, MaxFile+1))
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if !bytes.Equal(data, g.data) {
		return "does not hold what was written"
	}
	if time.Since(time.Unix(st.Ctim.Unix())) >= settleTime { // a later change shows in the time stamp
		g.intact = version
	}
	return ""
}
