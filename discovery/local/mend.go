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

// keep checks the directories of a process that has instances in them, and creates missing ones
// again. It fixes the mode of directories that were opened to others meanwhile, because readers reject
// them. It returns the paths of those. Before the first registration, a loose directory is rejected
// instead, because its content cannot be trusted yet.
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

// tighten removes the access of others from a directory of this user. It reports whether that was
// necessary and succeeded. prepare reports the error otherwise.
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
	// Chmod fails for a directory of another user.
	return f.Chmod(info.Mode()&^dirLoose) == nil
}

// repair writes the file again if it was removed or changed. It returns what was wrong with a changed
// file, or "" if the file was removed or is intact. It does not wait for the turn, because the
// goroutine that has the turn writes the file.
//
// After an error, repair returns no further errors until the file is intact again.
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

// spoiled returns what is wrong with the file that this process holds. It returns "" if readers accept
// the file and it has the content that was written.
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
	data, err := io.ReadAll(io.NewSectionReader(g.file, 0, maxFile+1))
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if !bytes.Equal(data, g.data) {
		return "does not hold what was written"
	}
	// A later change is visible in the time stamp only if this one is old enough.
	if time.Since(time.Unix(st.Ctim.Unix())) >= settleTime {
		g.intact = version
	}
	return ""
}
