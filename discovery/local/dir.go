//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/linkmesh/link/internal/private"
)

// Mode bits that give access to other users.
const (
	// dirLoose are the bits that directories of the registry must not have: others may not even
	// list them.
	dirLoose fs.FileMode = 0o077

	// parentLoose are the bits that the runtime directory must not have: others may not write to it.
	parentLoose fs.FileMode = 0o022
)

// directory is where the instance files are. It is immutable and safe for concurrent use.
type directory struct {
	path string

	// parent is XDG_RUNTIME_DIR if path is below it. It must exist and belong to the user.
	parent string

	// made lists the directories that the registry creates, which are path and parents of it,
	// outermost first.
	made []string

	// instead is the reason why this is not the usual directory. It is nil if it is the usual one.
	instead error

	// twin is the other directory that processes of this user may use. For the usual directory it is
	// the fallback, used by processes that began while another user had the usual one, and vice
	// versa. It is nil if there is no other directory.
	twin *directory
}

// newDirectory returns the directory that cfg specifies. It reads the environment and checks
// whether XDG_RUNTIME_DIR exists. It creates nothing.
func newDirectory(cfg Config) (directory, error) {
	if cfg.Dir != "" {
		path, err := filepath.Abs(cfg.Dir)
		if err != nil {
			return directory{}, fmt.Errorf("%w: Dir %q: %w", errConfig, cfg.Dir, err)
		}
		return directory{path: path, made: []string{path}}, nil
	}
	sum := sha256.Sum256([]byte(cfg.TrustDomain))
	leaf := hex.EncodeToString(sum[:8])
	if runtimeDir := os.Getenv("XDG_RUNTIME_DIR"); runtimeDir != "" {
		if !filepath.IsAbs(runtimeDir) {
			return directory{}, fmt.Errorf("%w: XDG_RUNTIME_DIR %q is not absolute; fix or unset it, or set Dir",
				errConfig, runtimeDir)
		}
		// A missing directory is common without a login session (cron, containers), and the XDG
		// specification asks for a replacement then. An existing but unsuitable one is an error.
		//nolint:gosec // the variable is the user's own, and what it names is checked before use
		if _, err := os.Lstat(runtimeDir); !errors.Is(err, fs.ErrNotExist) {
			base := filepath.Join(runtimeDir, "link")
			path := filepath.Join(base, leaf)
			return directory{path: path, parent: runtimeDir, made: []string{base, path}}, nil
		}
	}
	base := filepath.Join(os.TempDir(), "link-"+strconv.Itoa(os.Geteuid()))
	path := filepath.Join(base, leaf)
	usual := directory{path: path, made: []string{base, path}}
	other, err := besides(leaf)
	if reason := squatted(base); reason != nil {
		if err != nil {
			return directory{}, fmt.Errorf("%w: %w: have its owner or root remove it, or set XDG_RUNTIME_DIR or TMPDIR, "+
				"for all processes of the mesh alike, to a directory that only this user can write (and there is no other place: %w)",
				ErrUnsafeDir, reason, err)
		}
		other.instead, other.twin = reason, &usual
		return other, nil
	}
	if err == nil {
		usual.twin = &other
	}
	return usual, nil
}

// squatted returns an error if another user owns the registry's directory among the temporary files,
// where any user can create it. A directory of this user with a loose mode is not an error here, but
// prepare rejects it: files planted by others would be trusted, and the user can fix the mode.
func squatted(base string) error {
	info, err := os.Lstat(base)
	if err != nil {
		return nil //nolint:nilerr // there is nothing, or prepare says what is wrong
	}
	err = private.CheckFolder(base, info, dirLoose)
	if p, ok := errors.AsType[*private.Error](err); ok && p.Foreign {
		return err
	}
	return nil
}

// besides returns the directory that all processes of this user on this host use while another user
// has the usual one. Its name contains a hash of the host name, because hosts may share home
// directories and their instances must not be mixed.
func besides(leaf string) (directory, error) {
	cache, err := os.UserCacheDir()
	host, hostErr := os.Hostname()
	if err = errors.Join(err, hostErr); err != nil {
		return directory{}, err
	}
	sum := sha256.Sum256([]byte(host))
	base := filepath.Join(cache, "link", "registry-"+hex.EncodeToString(sum[:8]))
	path := filepath.Join(base, leaf)
	return directory{path: path, made: []string{base, path}}, nil
}

// prepare creates missing directories and checks all of them.
func (d directory) prepare() error {
	if d.parent != "" {
		// The runtime directory itself may be a symbolic link, so follow it.
		info, err := os.Stat(d.parent)
		if err != nil {
			return fmt.Errorf("XDG_RUNTIME_DIR: %w", err)
		}
		if err := safe(d.parent, info, parentLoose); err != nil {
			return err
		}
	} else if err := os.MkdirAll(filepath.Dir(d.made[0]), 0o700); err != nil {
		return err
	}
	for _, path := range d.made {
		info, err := made(path)
		if err != nil {
			return err
		}
		if err := safe(path, info, dirLoose); err != nil {
			return err
		}
	}
	return nil
}

// makeTries is how often a directory is made that is gone again when it is examined: somebody cleans up at that moment.
const makeTries = 10

// made makes a directory if it does not exist, and examines it.
func made(path string) (info fs.FileInfo, err error) {
	for range makeTries {
		// Another process may make it at the same time. Only what it turns out to be matters.
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if info, err = os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return info, err
}

// stat checks the directory, and creates it again if it was removed.
func (d directory) stat() (fs.FileInfo, error) {
	info, err := os.Lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.prepare(); err != nil {
			return nil, err
		}
		info, err = os.Lstat(d.path)
	}
	if err != nil {
		return nil, err
	}
	return info, safe(d.path, info, dirLoose)
}

// safe returns ErrUnsafeDir if other users have access to the directory at path.
func safe(path string, info fs.FileInfo, loose fs.FileMode) error {
	err := private.CheckFolder(path, info, loose)
	if p, ok := errors.AsType[*private.Error](err); ok && p.Foreign {
		return fmt.Errorf("%w: %w; it follows from Config.Dir, XDG_RUNTIME_DIR or TMPDIR. A local registry is for one user: "+
			"processes of several users find each other with LINK_CLUSTER_SECRET and LINK_PEERS or CONSUL_HTTP_ADDR", ErrUnsafeDir, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsafeDir, err)
	}
	return nil
}

// file returns the path of a file in the directory.
func (d directory) file(name string) string { return filepath.Join(d.path, name) }

// list returns the names in the directory, at most maxFiles, and whether there are more.
func (d directory) list() (names []string, more bool, err error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	names, err = f.Readdirnames(maxFiles + 1)
	// The error is io.EOF for an empty directory.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if len(names) > maxFiles {
		return names[:maxFiles], true, nil
	}
	return names, false, nil
}
