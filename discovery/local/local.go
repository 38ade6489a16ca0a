// Package local is a discovery registry for the processes of one user on one host. It uses files and
// needs no server. It is link's default.
//
// # Overview
//
// Each instance is a file "<id>.cbor" in one directory, which the announcing process keeps locked
// (flock) as long as it lives. The kernel releases the lock when the process ends for any reason, so
// an unlocked file belongs to a dead process. A reader that finds one ignores and removes it. Readers
// poll the directory every [Config.Poll].
//
// # Usage
//
//	registry, err := local.New(local.Config{TrustDomain: "example.org"})
//	defer registry.Close()
//
// # Guarantees
//
// A file appears under its name complete and locked, and an update replaces it by another complete
// and locked file, so a live instance never looks dead or half-written. Two processes with the same
// ID cannot both be announced. A change is seen within one Poll, or at once in the same Registry.
// Services are found by tag in the files that have been read. Only changed files are read again, and
// the death of a process that is not watched is seen within 5 s. Every Poll, the process that owns an
// instance checks its file: if somebody removes the file or the directory, changes the content or
// mode of the file, or opens the directory to others, the process repairs that.
//
// The directory must be a real directory of mode 0700 that belongs to the user, and the files must be
// regular files of mode 0600 that belong to the user. Anything else is rejected or skipped, which
// keeps other users out. Processes of the same user are not isolated from each other: as everywhere
// in discovery, the content of a file is a hint.
//
// The directory must be on a file system with hard links and flock: tmpfs, ext4, xfs, APFS and
// the like. Do not use a network file system.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Registry in use owns one goroutine, which Close
// waits for. The goroutine is idle while nothing is registered or watched.
//
// # Limits
//
// A Registry has at most 2000 open registrations, each of which holds an open file. A file has at most
// 64 KiB; larger ones are skipped. One scan examines 16,384 entries of the directory; further ones are
// left out, with a log line.
//
// # Errors
//
// [ErrUnsafeDir] and those of package discovery; [New] returns [discovery.ErrInvalidConfig] or, on
// systems without flock, an error that matches [errors.ErrUnsupported].
//
// # Testing
//
// Give each test its own directory, as Config.Dir, that does not exist yet.
package local

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/errtext"
)

var (
	// ErrUnsafeDir means that a directory of the registry, or XDG_RUNTIME_DIR above it, is open to
	// others: it belongs to another user, has a loose mode, or is a symbolic link. The message
	// names the path, the problem and how to fix it.
	ErrUnsafeDir = errors.New("local: unsafe directory")

	// errConfig is wrapped by the errors about a field of Config or a variable, which name it and its
	// value.
	errConfig = errtext.New("local: invalid config", discovery.ErrInvalidConfig)
)

// Limits of the registry.
const (
	// maxFile is the maximum size of a file in bytes. Larger files are skipped without reading them.
	// The largest valid instance takes about 50 KiB.
	maxFile = 64 << 10

	// maxFiles is the number of directory entries that one scan examines. Further entries are left
	// out, with a log line.
	maxFiles = 16_384

	// maxRegistrations is the maximum number of open registrations of one Registry. Each holds an
	// open file.
	maxRegistrations = 2000
)

// Limits of Config.Poll.
const (
	defaultPoll = 250 * time.Millisecond
	minPoll     = time.Millisecond
	maxPoll     = time.Minute
)

// Config tells where a Registry looks and how often. The zero value works.
type Config struct {
	// Dir is the directory of the instance files. It is created with mode 0700 if it does not
	// exist. "" is $XDG_RUNTIME_DIR/link/<hash of TrustDomain> or, without that variable or that
	// directory, link-<uid>/<hash> in os.TempDir. If another user has taken link-<uid> there, it is
	// link/registry-<hash of the host's name>/<hash> in os.UserCacheDir, and a line is logged.
	// Processes that use one of these two find the instances in the other within 5 s, as long as both
	// belong to the user.
	Dir string

	// TrustDomain separates meshes of one user: each has its own directory. It has no effect when
	// Dir is set.
	TrustDomain string

	// Poll is how often the directory is read while something is watched or registered, from
	// 1 ms to 1 min. 0 is 250 ms.
	Poll time.Duration

	// Logger gets a line for each skipped file version, at a bounded rate, when the directory becomes
	// unreadable or readable again, when the directory or a file of this process was changed and was
	// repaired or cannot be, and in New if another user has the usual directory. nil is
	// slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Poll < minPoll || c.Poll > maxPoll {
		return c, fmt.Errorf("%w: Poll %v: want 0 (the default) or %v to %v", errConfig, c.Poll, minPoll, maxPoll)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
