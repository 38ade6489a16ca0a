package smalldisk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk is where a test may write.
type Disk struct {
	Dir string

	// FilesOnly says that the kernel gives this user no file system of its own: the disk is not
	// small, but no file on it may be longer than the size that was asked for.
	FilesOnly bool
}

// These tell a child where its disk is, and whether it has a mount namespace of its own.
const (
	dirEnv   = "LINK_TEST_SMALL_DISK"
	mountEnv = "LINK_TEST_SMALL_DISK_MOUNT"
)

// Run runs the rest of a test in a process of its own, on a disk of size bytes: a tmpfs in a
// mount namespace, which root may have and elsewhere those who may have a user namespace. Where
// the kernel allows neither, the log of the test says so, and the size of files is limited
// instead (RLIMIT_FSIZE). The test must call nothing before it.
func Run(t *testing.T, size int64, test func(t *testing.T, disk Disk)) {
	t.Helper()
	if dir := os.Getenv(dirEnv); dir != "" {
		test(t, limit(t, dir, size))
		return
	}
	var refused error
	for _, flags := range []uintptr{syscall.CLONE_NEWNS, syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER} {
		c, out := child(t, flags)
		if err := c.Start(); err != nil {
			refused = err
			continue
		}
		finish(t, c, out)
		return
	}
	t.Logf("no small disk: the kernel gives this user no mount namespace (%v); only the size of files is limited, to %d bytes", refused, size)
	c, out := child(t, 0)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	finish(t, c, out)
}

func child(t *testing.T, flags uintptr) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v") //nolint:gosec // this binary
	c.Env = append(os.Environ(), dirEnv+"="+t.TempDir())
	if flags != 0 {
		c.Env = append(c.Env, mountEnv+"=1")
	}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out := new(bytes.Buffer)
	c.Stdout, c.Stderr = out, out
	return c, out
}

func finish(t *testing.T, c *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
		return
	}
	t.Logf("%s", out)
	if !bytes.Contains(out.Bytes(), []byte("--- PASS: "+t.Name())) {
		t.Error("the test did not run in its own process")
	}
}

// limit makes the folder a small disk, or else limits files.
func limit(t *testing.T, dir string, size int64) Disk {
	t.Helper()
	if os.Getenv(mountEnv) != "" {
		err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		if err == nil {
			err = syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
		}
		if err == nil {
			return Disk{Dir: dir}
		}
		t.Logf("no small disk: this process may not mount one (%v); only the size of files is limited, to %d bytes", err, size)
	}
	signal.Ignore(syscall.SIGXFSZ) // a write that is too long fails with EFBIG then
	most := syscall.Rlimit{Cur: uint64(size), Max: uint64(size)}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &most); err != nil {
		t.Fatal(err)
	}
	return Disk{Dir: dir, FilesOnly: true}
}

// Fill takes all the room that is left on the disk, as another program may, and returns what
// gives it back. On a disk where only files are limited it does nothing.
func (d Disk) Fill(t *testing.T) (free func()) {
	t.Helper()
	if d.FilesOnly {
		return func() {}
	}
	name := filepath.Join(d.Dir, "other")
	f, err := os.Create(name) //nolint:gosec // the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}
