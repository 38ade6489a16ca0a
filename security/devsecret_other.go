//go:build !unix

package security

import (
	"io/fs"
	"strconv"
)

// The user's configuration folder is closed to other users by its access list, which permission bits do not show.
const (
	openNoFollow = 0
	hasModes     = false
)

func foreignOwner(fs.FileInfo) string { return "" }

// shellQuote makes a path one word of a command.
func shellQuote(path string) string { return strconv.Quote(path) }
