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

// Bits of a mode that let others in.
const (
	dirLoose    fs.FileMode = 0o077 // nobody else may even look into our directories
	parentLoose fs.FileMode = 0o022 // nobody else may put something into the runtime directory
)

// directory is where the instance files are. It is immutable and safe for concurrent use.
type directory struct {
	path   string
	parent string   // XDG_RUNTIME_DIR, when path is below it: must exist and be ours
	made   []string // path and those above it that are the registry's own, outermost first

	instead error // why it is not the usual one; nil if it is

	// twin is where processes are that began while the usual directory was another's, if this is the usual one, and
	// the other way round. Nil if there cannot be any.
	twin *directory
}

// newDirectory finds the directory that cfg means. It looks at the environment and, to see
// whether XDG_RUNTIME_DIR exists, at the file system; it makes nothing.
func newDirectory(cfg Config) (directory, error) {
	if cfg.Dir != "" {
		path, err := filepath.Abs(cfg.Dir)
		if err != nil {
			return directory{}, fmt.Errorf("%w: Dir %q: %w", ErrInvalidConfig, cfg.Dir, err)
		}
		return directory{path: path, made: []string{path}}, nil
	}
	sum := sha256.Sum256([]byte(cfg.TrustDomain))
	leaf := hex.EncodeToString(sum[:8])
	if runtimeDir := os.Getenv("XDG_RUNTIME_DIR"); runtimeDir != "" {
		if !filepath.IsAbs(runtimeDir) {
			return directory{}, fmt.Errorf("%w: XDG_RUNTIME_DIR %q is not absolute; fix or unset it, or set Dir",
				ErrInvalidConfig, runtimeDir)
		}
		// A missing directory is common without a login session (cron, containers), and the XDG
		// specification asks for a replacement then. One that exists and is unfit is a mistake.
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

// squatted says whether somebody else has taken the name of our directory among the temporary
// files, where anybody may. What is ours and merely has a loose mode is for prepare to refuse: what
// others planted in it would be trusted, and the user can close it.
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

// besides is the directory that all processes of this user on this host use while somebody else has
// the usual one. Home directories may be shared by hosts, whose instances are not to be mixed.
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

// prepare makes the directories that are missing and checks all of them.
func (d directory) prepare() error {
	if d.parent != "" {
		// The runtime directory itself may be reached through a link, so it is followed.
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
		// Another process may make it at this moment; what counts is the check after.
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if err := safe(path, info, dirLoose); err != nil {
			return err
		}
	}
	return nil
}

// stat checks the directory as it is now and, if it has gone, makes it again.
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

// safe says whether others can reach into the directory at path.
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

// list returns the names in the directory, at most MaxFiles, and whether there are more.
func (d directory) list() (names []string, more bool, err error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	names, err = f.Readdirnames(MaxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) { // an empty directory is an io.EOF
		return nil, false, err
	}
	if len(names) > MaxFiles {
		return names[:MaxFiles], true, nil
	}
	return names, false, nil
}
