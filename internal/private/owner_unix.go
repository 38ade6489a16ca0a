//go:build unix

package private

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// hasModes says that permission bits and owners mean something here.
const hasModes = true

// openNoWait refuses a link that comes at the last moment, where the system passes it on, and does
// not wait for the other end of a pipe.
const openNoWait = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY

// ownerOf returns the user that a file belongs to, and how many names it has; -1 if that is unknown.
func ownerOf(info fs.FileInfo) (uid int, names uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, 1
	}
	return int(st.Uid), uint64(st.Nlink) //nolint:unconvert // narrower on some systems
}

// foreignOwner names the owner of what is not this user's, "" if it is.
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
