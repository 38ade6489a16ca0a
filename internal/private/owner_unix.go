//go:build unix

package private

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// hasModes says that this system has permission bits and owners.
const hasModes = true

// openNoWait refuses a link that was planted after the check, on systems where os.Root passes the
// flag on, and does not wait for the other end of a pipe.
const openNoWait = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY

// ownerOf returns the owner of a file and the number of its names. If they are unknown, it returns
// -1 and 1.
func ownerOf(info fs.FileInfo) (uid int, names uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, 1
	}
	return int(st.Uid), uint64(st.Nlink) //nolint:unconvert // narrower on some systems
}

// foreignOwner names the owner, or returns "" if it is this user.
func foreignOwner(info fs.FileInfo) string {
	switch uid, _ := ownerOf(info); uid {
	case os.Geteuid():
		return ""
	case -1:
		return "an unknown user"
	default:
		return fmt.Sprintf("user %d", uid)
	}
}
