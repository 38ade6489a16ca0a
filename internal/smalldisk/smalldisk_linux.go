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

// Disk is the file system that a test may write to, at Dir.
type Disk struct {
	Dir string

	// FilesOnly reports that the kernel does not let this user mount a file system: the disk is
	// not small, but no file on it can be longer than the requested size.
	FilesOnly bool
}

// Environment variables that tell a child where its disk is, and whether it has its own mount namespace.
const (
	dirEnv   = "LINK_TEST_SMALL_DISK"
	mountEnv = "LINK_TEST_SMALL_DISK_MOUNT"
)

// Run runs the rest of a test in a process of its own, on a disk of size bytes: a tmpfs in a
// mount namespace, which needs root or a user namespace. If the kernel allows neither, Run logs
// that and limits the size of files instead (RLIMIT_FSIZE). Run must be the first call of the test.
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

// limit mounts a small file system at dir, or else limits the size of files.
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
	// If SIGXFSZ is ignored, a write beyond the limit fails with EFBIG.
	signal.Ignore(syscall.SIGXFSZ)
	most := syscall.Rlimit{Cur: uint64(size), Max: uint64(size)}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &most); err != nil {
		t.Fatal(err)
	}
	return Disk{Dir: dir, FilesOnly: true}
}

// Fill uses all the space that is left on the disk, as another program might, and returns a function
// that frees it again. It does nothing if FilesOnly is set.
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
