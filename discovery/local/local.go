// Package local is a discovery registry for the processes of one user on one host, made of files
// and no server. It is link's default.
//
// # Overview
//
// Each instance is a file "<id>.cbor" in one directory, which the announcing process keeps locked
// (flock) as long as it lives. The kernel drops the lock when the process ends, however it ends,
// so a file that nobody holds is the file of a dead process: whoever notices leaves it out and
// removes it. Readers look at the directory every [Config.Poll].
//
// # Usage
//
//	registry, err := local.New(local.Config{TrustDomain: "example.org"})
//	defer registry.Close()
//
// # Guarantees
//
// A file appears under its name complete and already locked, and an update puts a complete and
// locked file in the place of the old one; so there is no moment at which a live instance looks
// dead or half-written. Two processes with the same ID cannot both be announced. A change is
// seen within one Poll, one in the same Registry at once. Services are found by tag in the files
// that have been read; only what changed is read again, and that a process died which nobody
// watches shows within 5 s. Every Poll the process that owns an
// instance looks after its file: if somebody removes the file or the directory, changes what the
// file holds or its mode, or opens the directory to others, it puts that in order again.
//
// The directory must be a real directory of mode 0700 that belongs to the user, and the files
// real files of mode 0600 that do; anything else is refused or skipped. That keeps other users out.
// Processes of the same user are not kept apart: what a file says is a hint, as everywhere in
// discovery.
//
// The directory must be on a file system with hard links and flock: tmpfs, ext4, xfs, APFS and
// the like; network file systems are for the wrong job.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Registry in use owns one goroutine, which Close
// waits for. While nothing is registered or watched, it does nothing.
//
// # Errors
//
// [ErrUnsafeDir], [ErrUnsupported] on systems without flock, and those of package discovery.
//
// # Testing
//
// Give each test a directory of its own, as Config.Dir, that does not exist yet.
package local

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var (
	// ErrUnsafeDir says that a directory of the registry, or XDG_RUNTIME_DIR above it, is open to
	// others: it belongs to another user, has a loose mode, or is a symbolic link. The message
	// names the path, what is wrong and how to fix it.
	ErrUnsafeDir = errors.New("local: unsafe directory")

	// ErrUnsupported says that this operating system has no flock.
	ErrUnsupported = errors.New("local: host-local discovery needs a POSIX system with flock; " +
		"use discovery/static or another registry")

	// ErrInvalidConfig says that a field of Config is wrong; the message names it and its value.
	ErrInvalidConfig = errors.New("local: invalid config")
)

// Bounds of the registry.
const (
	// MaxFile is the size beyond which a file is skipped unread, in bytes. The largest valid
	// instance takes about 50 KiB.
	MaxFile = 64 << 10

	// MaxFiles is the number of directory entries one scan looks at. What lies beyond is left out,
	// with a log line.
	MaxFiles = 16_384

	// MaxRegistrations bounds the open registrations of one Registry. Each holds an open file.
	MaxRegistrations = 2000
)

// Bounds of Config.Poll.
const (
	DefaultPoll = 250 * time.Millisecond
	MinPoll     = time.Millisecond
	MaxPoll     = time.Minute
)

// Config says where a Registry looks and how often. The zero value works.
type Config struct {
	// Dir is the directory of the instance files. It is made, with mode 0700, if it does not
	// exist. "" is $XDG_RUNTIME_DIR/link/<hash of TrustDomain>, or, without that variable or that
	// directory, link-<uid>/<hash> in os.TempDir. If somebody else has taken link-<uid> there, it is
	// link/registry-<hash of the host's name>/<hash> in os.UserCacheDir, with a log line. Instances in
	// the one are found by those in the other, within 5 s, as long as both belong to the user.
	Dir string

	// TrustDomain keeps meshes of one user apart: each has a directory of its own. It has no
	// effect when Dir is set.
	TrustDomain string

	// Poll is how often the directory is read while something is watched or registered, from
	// MinPoll to MaxPoll. 0 is DefaultPoll.
	Poll time.Duration

	// Logger gets one line for each file version that is skipped, at a bounded rate, one when the
	// directory becomes unreadable or readable, and one when a file of this process or the
	// directory was changed and put in order, or cannot be, and New's if somebody else has the usual
	// directory. nil is slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Poll < MinPoll || c.Poll > MaxPoll {
		return c, fmt.Errorf("%w: Poll %v: want 0 (the default) or %v to %v", ErrInvalidConfig, c.Poll, MinPoll, MaxPoll)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
