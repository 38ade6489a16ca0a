//go:build unix

package security

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// openNoFollow refuses a symbolic link, and does not wait for the other end of a pipe.
const openNoFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// hasModes says that permission bits mean something here.
const hasModes = true

// foreignOwner names the owner of a file that is not this user's.
func foreignOwner(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "an unknown user"
	}
	if uid := os.Geteuid(); int(stat.Uid) != uid {
		return fmt.Sprintf("user %d", stat.Uid)
	}
	return ""
}

// shellQuote makes a path one word of a shell command.
func shellQuote(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
