//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/limitlog"
)

// refusal returns the error of Watch about the registry's directory. Register must fail exactly if Watch does.
func refusal(t *testing.T, cfg Config) error {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	_, registerErr := r.Register(t.Context(), instance("orders-1"))
	_, watchErr := r.Watch(t.Context(), discovery.Query{Service: "orders"})
	if (registerErr == nil) != (watchErr == nil) {
		t.Errorf("Register says %v, Watch says %v", registerErr, watchErr)
	}
	return watchErr
}

func TestAnUnsafeDirectoryIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		// make returns the Config.Dir to use.
		make func(t *testing.T, path string) string
		says string
	}{
		"readable by others": {func(t *testing.T, path string) string {
			t.Helper()
			return path + mkdir(t, path, 0o755)
		}, "has mode 0755, want 0700"},
		"writable by the group": {func(t *testing.T, path string) string {
			t.Helper()
			return path + mkdir(t, path, 0o720)
		}, "run: chmod 0700 "},
		"a symbolic link": {func(t *testing.T, path string) string {
			t.Helper()
			mkdir(t, path, 0o700)
			link := path + "-link"
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			return link
		}, "is a symbolic link; name the real folder"},
		"a file": {func(t *testing.T, path string) string {
			t.Helper()
			writeFile(t, path, nil, 0o600)
			return path
		}, "is not a folder"},
		"of another user": {foreign, "processes of several users find each other with LINK_CLUSTER_SECRET"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.make(t, newDir(t))
			err := refusal(t, Config{Dir: dir})
			if !errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want ErrUnsafeDir with %q and %q", err, c.says, dir)
			}
		})
	}
}

// TestALooseDirectoryIsRefusedWhileAnInstanceIsBeingRegistered checks that a registration in progress does not count
// as one. Otherwise the poller would close the loose directory to others, and trust whatever they had planted in it.
func TestALooseDirectoryIsRefusedWhileAnInstanceIsBeingRegistered(t *testing.T) {
	dir := newDir(t)
	mkdir(t, dir, 0o755)
	r, _ := newRegistry(t, dir)
	g := newRegistration(r, instance("orders-1"), nil)
	if err := r.reserve(g); err != nil {
		t.Fatal(err)
	}
	defer r.making.Done()
	p := &poller{registry: r, scanner: newScanner(r.dir, r.coder, limitlog.New(r.log))}
	p.round(t.Context())
	r.forget(g)
	if info, err := os.Lstat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the directory: %v, %v, want it as it was", info.Mode(), err)
	}
}

func mkdir(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return ""
}

// foreign returns a directory that belongs to another user: the root directory or, if the test runs
// as root, a directory that it gives away.
func foreign(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return "/"
	}
	mkdir(t, path, 0o700)
	if err := os.Chown(path, 4242, -1); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDirectoriesAreMadePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "mesh")
	r, _ := newRegistry(t, dir)
	register(t, r, instance("orders-1"))
	for _, path := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "orders-1.cbor"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
}

func TestDefaultDirectory(t *testing.T) {
	uid := strconv.Itoa(os.Geteuid())
	runtimeDir, tmp := t.TempDir(), t.TempDir()
	if err := os.Chmod(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	// hash is the SHA-256 of example.org, cut to 8 bytes.
	const hash = "bfabc37432958b06"
	cfg := Config{TrustDomain: "example.org"}

	t.Run("below the runtime directory", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
		describes(t, cfg, filepath.Join(runtimeDir, "link", hash))
		if err := refusal(t, cfg); err != nil {
			t.Error(err)
		}
	})
	t.Run("apart for each trust domain", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
		a, _ := newDirectory(Config{TrustDomain: "a"})
		b, _ := newDirectory(Config{TrustDomain: "b"})
		if a.path == b.path {
			t.Errorf("both in %s", a.path)
		}
	})
	t.Run("without a runtime directory", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", "")
		describes(t, cfg, filepath.Join(tmp, "link-"+uid, hash))
		if err := refusal(t, cfg); err != nil {
			t.Error(err)
		}
	})
	t.Run("with a runtime directory that does not exist", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", filepath.Join(runtimeDir, "gone"))
		describes(t, cfg, filepath.Join(tmp, "link-"+uid, hash))
	})
	t.Run("with a relative runtime directory", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", "run")
		if _, err := New(cfg); !errors.Is(err, discovery.ErrInvalidConfig) || !strings.Contains(err.Error(), `"run"`) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("with a runtime directory that others can write", func(t *testing.T) {
		loose := t.TempDir()
		if err := os.Chmod(loose, 0o777); err != nil {
			t.Fatal(err)
		}
		t.Setenv("XDG_RUNTIME_DIR", loose)
		if err := refusal(t, cfg); !errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), "0777") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("planted by somebody else", func(t *testing.T) {
		t.Setenv("XDG_RUNTIME_DIR", "")
		planted := t.TempDir()
		t.Setenv("TMPDIR", planted)
		mkdir(t, filepath.Join(planted, "link-"+uid), 0o777)
		if err := refusal(t, cfg); !errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), "link-"+uid) {
			t.Errorf("error %v", err)
		}
	})
}

// TestATakenTemporaryDirectoryIsNotWaitedFor checks that nodes start although somebody else has taken the registry's
// name among the temporary files (SEC-617). All processes of the user then meet in another directory.
func TestATakenTemporaryDirectoryIsNotWaitedFor(t *testing.T) {
	uid := strconv.Itoa(os.Geteuid())
	for name, squat := range map[string]func(t *testing.T, path string){
		"by a link": func(t *testing.T, path string) {
			t.Helper()
			mkdir(t, path+"-real", 0o700)
			if err := os.Symlink(path+"-real", path); err != nil {
				t.Fatal(err)
			}
		},
		"by a file": func(t *testing.T, path string) { t.Helper(); writeFile(t, path, nil, 0o600) },
		"by another user": func(t *testing.T, path string) {
			t.Helper()
			// A user who cannot give files away gets a directory of root.
			if other := foreign(t, path); other != path {
				if err := os.Symlink(other, path); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			tmp, home := t.TempDir(), t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", "")
			t.Setenv("TMPDIR", tmp)
			t.Setenv("HOME", home)
			t.Setenv("XDG_CACHE_HOME", "")
			taken := filepath.Join(tmp, "link-"+uid)
			squat(t, taken)
			var paths []string
			for range 2 {
				log := &logBuffer{}
				r, err := New(Config{TrustDomain: "example.org", Logger: slog.New(slog.NewTextHandler(log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = r.Close() })
				if log.lines("the usual directory belongs to another user") != 1 || log.lines(taken) != 1 {
					t.Errorf("the log does not name %s:\n%s", taken, log)
				}
				if _, err := r.Register(t.Context(), instance("orders-"+strconv.Itoa(len(paths)))); err != nil {
					t.Error(err)
				}
				paths = append(paths, r.dir.path)
				if len(paths) == 2 {
					untilIDs(t, watch(t, r), "orders-0", "orders-1")
				}
			}
			if paths[0] != paths[1] || !strings.HasPrefix(paths[0], home) {
				t.Errorf("in %q, want one below %s", paths, home)
			}
		})
	}
	t.Run("without a home", func(t *testing.T) {
		tmp := t.TempDir()
		for key, value := range map[string]string{"XDG_RUNTIME_DIR": "", "TMPDIR": tmp, "HOME": "", "XDG_CACHE_HOME": ""} {
			t.Setenv(key, value)
		}
		taken := filepath.Join(tmp, "link-"+uid)
		writeFile(t, taken, nil, 0o600)
		_, err := New(Config{})
		if !errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "set XDG_RUNTIME_DIR or TMPDIR") {
			t.Errorf("error %v, want ErrUnsafeDir that names %s and says what to do", err, taken)
		}
	})
}

func describes(t *testing.T, cfg Config, want string) {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Describe(); got != "local registry "+want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestConfigNamesTheWrongValue(t *testing.T) {
	for _, poll := range []string{"-1s", "1us", "61s"} {
		d := mustDuration(t, poll)
		if _, err := New(Config{Dir: "x", Poll: d}); !errors.Is(err, discovery.ErrInvalidConfig) || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s: error %v", poll, err)
		}
	}
}

func TestAListingIsBounded(t *testing.T) {
	dir := newDir(t)
	mkdir(t, dir, 0o700)
	for i := range maxFiles + 1 {
		f, err := os.Create(filepath.Join(dir, "litter-"+strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	r, log := newRegistry(t, dir)
	untilIDs(t, watch(t, r))
	list, more, err := r.dir.list()
	if len(list) != maxFiles || !more || err != nil {
		t.Errorf("%d names, more %t, %v; want %d and more", len(list), more, err, maxFiles)
	}
	eventually(t, "a log line", func() bool { return log.lines("too many files") == 1 })
}

// TestTheHalvesOfARegistryThatWasSplitFindEachOther has somebody else take the usual directory for a while. Instances
// registered during that time and after it are in two directories, and must find each other.
func TestTheHalvesOfARegistryThatWasSplitFindEachOther(t *testing.T) {
	tmp, home := t.TempDir(), t.TempDir()
	for key, value := range map[string]string{"XDG_RUNTIME_DIR": "", "TMPDIR": tmp, "HOME": home, "XDG_CACHE_HOME": ""} {
		t.Setenv(key, value)
	}
	taken := filepath.Join(tmp, "link-"+strconv.Itoa(os.Geteuid()))
	begin := func(id string) (*Registry, *logBuffer) {
		log := &logBuffer{}
		r, err := New(Config{TrustDomain: "example.org", Poll: minPoll, Logger: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		if _, err := r.Register(t.Context(), instance(id)); err != nil {
			t.Fatal(err)
		}
		return r, log
	}
	writeFile(t, taken, nil, 0o600)
	during, _ := begin("orders-0")
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	after, log := begin("orders-1")
	if during.dir.path == after.dir.path {
		t.Fatalf("both are in %s: the registry is not split", after.dir.path)
	}
	seen := watch(t, after)
	untilIDs(t, seen, "orders-0", "orders-1")
	untilIDs(t, watch(t, during), "orders-0", "orders-1")
	for name, r := range map[string]*Registry{"during": during, "after": after} {
		if names, err := r.Services(t.Context(), ""); err != nil || !slices.Equal(names, []string{"orders"}) {
			t.Errorf("%s: services %q, %v", name, names, err)
		}
	}
	if n := log.lines("in two directories"); n != 1 || log.lines(during.dir.path) != 1 {
		t.Errorf("the log says %d times, want once, that there is another directory:\n%s", n, log)
	}
	if err := during.Close(); err != nil {
		t.Fatal(err)
	}
	untilIDs(t, seen, "orders-1")
	// A directory that others can write is not read.
	if err := os.Chmod(filepath.Dir(during.dir.path), 0o777); err != nil {
		t.Fatal(err)
	}
	if again, err := during.dir.look(); err == nil {
		t.Errorf("a directory below one that is open to others is read: %v", again)
	}
}
