package security_test

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

// devHome gives the dev tier a new folder and returns the paths of the folder and of the secret in it.
func devHome(t *testing.T) (folder, file string) {
	t.Helper()
	// This folder does not exist yet, and its path must be quoted in a shell.
	config := filepath.Join(t.TempDir(), "it's a config")
	t.Setenv("XDG_CONFIG_HOME", config)
	folder = filepath.Join(config, "link")
	return folder, filepath.Join(folder, "dev.secret")
}

func mustDev(t *testing.T, service string) security.Source {
	t.Helper()
	src, err := security.NewDevSource(service, "")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestDevSecretIsMadeOnceAndPrivate(t *testing.T) {
	folder, file := devHome(t)
	web := mustDev(t, "web")
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mtlstest.MustConnect(t, web, mustDev(t, "orders"))
	second, err := os.ReadFile(file)
	if err != nil || string(first) != string(second) {
		t.Errorf("the secret changed, %v", err)
	}
	for path, want := range map[string]fs.FileMode{folder: 0o700 | fs.ModeDir, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v, %v", path, info.Mode(), want, err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v left in the folder, %v", entries, err)
	}
	if web.Tier() != security.TierDev || web.ID().String() != "spiffe://dev.link/ns/default/svc/web" || !web.ID().Advisory() {
		t.Errorf("source is %v %v", web.Tier(), web.ID())
	}
}

func TestDevNodesDoNotMeetClusterNodes(t *testing.T) {
	_, file := devHome(t)
	dev := mustDev(t, "web")
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The dev secret is used by mistake as a cluster secret.
	cluster := mustCluster(t, string(secret), "orders")
	client, server := mtlstest.Connect(t, dev, cluster)
	mtlstest.ExpectRefusal(t, client.Err, security.ReasonTrustDomain, false)
	if server.Err == nil {
		t.Error("the cluster accepted a dev node")
	}
	if !strings.Contains(client.Err.Error(), "LINK_CLUSTER_SECRET") {
		t.Errorf("the error does not say what to check: %v", client.Err)
	}
}

func TestGoroutinesAgreeOnTheDevSecret(t *testing.T) {
	devHome(t)
	const n = 32
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		roots = map[[32]byte]int{}
		gate  = make(chan struct{})
	)
	for range n {
		wg.Go(func() {
			<-gate
			src, err := security.NewDevSource("orders", "")
			if err != nil {
				t.Error(err)
				return
			}
			bundle, err := src.Bundle(security.DevTrustDomain)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			roots[spki(bundle.Roots()[0])]++
		})
	}
	close(gate)
	wg.Wait()
	if len(roots) != 1 {
		t.Errorf("%d different roots", len(roots))
	}
}

func TestProcessesAgreeOnTheDevSecret(t *testing.T) {
	devHome(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const n = 6
	outputs := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), envDevRoot+"=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			outputs[i] = string(out)
		})
	}
	wg.Wait()
	bundle, err := mustDev(t, "orders").Bundle(security.DevTrustDomain)
	if err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(bundle.Roots()[0].Raw)
	for i, got := range outputs {
		if got != want {
			t.Errorf("process %d has another root: %.40s", i, got)
		}
	}
}

func TestUnsafeDevSecretsAreRefused(t *testing.T) {
	chmod := func(mode fs.FileMode) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	symlink := func(t *testing.T, path string) {
		t.Helper()
		if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name         string
		ofFolder     bool
		damage       func(t *testing.T, path string)
		problem, fix string
	}{
		{"file readable by the group", false, chmod(0o640), "0640", "chmod 0600 "},
		{"file readable by all", false, chmod(0o644), "0644", "chmod 0600 "},
		{"file writable by all", false, chmod(0o602), "0602", "chmod 0600 "},
		{"folder readable by all", true, chmod(0o755), "0755", "chmod 0700 "},
		{"folder open to the group", true, chmod(0o710), "0710", "chmod 0700 "},
		{"file is a symbolic link", false, symlink, "symbolic link", "rm "},
		{"folder is a symbolic link", true, symlink, "symbolic link", "remove the link"},
		{"file has a name elsewhere", false, func(t *testing.T, path string) {
			t.Helper()
			if err := os.Link(path, filepath.Join(t.TempDir(), "copy")); err != nil {
				t.Fatal(err)
			}
		}, "second name", "rm "},
		{"file is empty", false, write(""), "has 0 bytes, want 43", "rm "},
		{"file is short", false, write(security.NewSecret()[:42]), "has 42 bytes, want 43", "rm "},
		{"file is long", false, write(security.NewSecret() + "\n"), "has 44 bytes, want 43", "rm "},
		{"file is huge", false, write(strings.Repeat("A", 1<<20)), "has more than 1024 bytes", "rm "},
		{"file is garbage", false, write(strings.Repeat("!", 43)), "damaged", "rm "},
		{"file is a placeholder", false, write(strings.Repeat("A", 43)), "damaged", "rm "},
		{"file is a folder", false, func(t *testing.T, path string) {
			t.Helper()
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", ""},
		{"folder is a file", true, func(t *testing.T, path string) {
			t.Helper()
			if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "is not a folder; remove it", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder, path := devHome(t)
			mustDev(t, "orders")
			if tc.ofFolder {
				path = folder
			}
			tc.damage(t, path)
			src, err := security.NewDevSource("orders", "")
			if !errors.Is(err, security.ErrInvalid) || src != nil {
				t.Fatalf("got %v, %v, want ErrInvalid", src, err)
			}
			for _, want := range []string{path, tc.problem, tc.fix} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if begin := "security: dev secret: " + path + " "; !strings.HasPrefix(err.Error(), begin) {
				t.Errorf("%q does not begin with %q", err, begin)
			}
		})
	}
}

// TestADevSecretWhoseMakerWasKilledIsRead checks that a secret with a second name, as a process that was killed while
// making it leaves behind, is read, and that the second name is removed.
func TestADevSecretWhoseMakerWasKilledIsRead(t *testing.T) {
	_, file := devHome(t)
	mustDev(t, "orders")
	if err := os.Link(file, file+".half"); err != nil {
		t.Fatal(err)
	}
	mustDev(t, "orders")
	if _, err := os.Lstat(file + ".half"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the second name is still there: %v", err)
	}
}

func TestFixInTheErrorMendsTheSecret(t *testing.T) {
	_, file := devHome(t)
	mustDev(t, "orders")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := security.NewDevSource("orders", "")
	if !errors.Is(err, security.ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	_, fix, _ := strings.Cut(err.Error(), ": run: ")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", fix).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", fix, err, out)
	}
	mustDev(t, "orders")
}

func TestDevWithoutAHomeSaysWhatToSet(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	_, err := security.NewDevSource("orders", "")
	if err == nil || !strings.Contains(err.Error(), "set HOME or XDG_CONFIG_HOME") {
		t.Errorf("got %v", err)
	}
}
