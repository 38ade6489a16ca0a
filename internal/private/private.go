// Package private keeps folders and files that belong to the user of this process alone.
//
// # Overview
//
// What a program keeps on disk is a target where others can write: a link that somebody planted
// under the name of a file has the program write elsewhere, as root over anything. So a [Folder]
// is opened once, checked by what was opened, and held: it belongs to this user, is closed to all
// others and is not a symbolic link, and what happens to its path later leads no call elsewhere.
// The files in it are opened by name within it, and checked the same way.
//
// # Usage
//
//	folder, made, err := private.Make("/var/lib/mailer/queue")
//	f, err := folder.Create("next.tmp")
//	err = folder.Rename("next.tmp", "0001.wal")
//
// # Guarantees
//
// No call follows a symbolic link or writes to a file that has a second name (a hard link), and
// none waits for the other end of a pipe. A file is never truncated on opening. Nothing is checked
// above the folder: who owns what is above it may move it away, and not look into it.
//
// On systems without owners and permission bits, such as Windows, only links and kinds are checked;
// there the access lists of the user's own folders keep others out.
//
// # Errors
//
// [*Error] says what is wrong with which path and how to fix it; it matches [ErrUnsafe]. Others are
// those of the file system.
package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ErrUnsafe is matched by every *Error.
var ErrUnsafe = errors.New("unsafe")

// Modes of what this package makes.
const (
	FolderMode fs.FileMode = 0o700
	FileMode   fs.FileMode = 0o600

	// Loose are the bits that let others into a folder.
	Loose fs.FileMode = 0o077
)

// Error says that a folder or file is open to others, or is not what it should be.
type Error struct {
	Path    string
	Problem string // follows the path: "is a symbolic link"
	Fix     string // what to do; "" if the user of the folder has to know
	Foreign bool   // it is not a folder or file that this user has made: only another path helps

	named bool // the problem is a second name
}

// Error names the path, the problem and how to fix it.
func (e *Error) Error() string {
	text := e.Path + " " + e.Problem
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}

// Is matches ErrUnsafe.
func (e *Error) Is(target error) bool { return target == ErrUnsafe }

// CheckFolder says whether others can reach into the folder at path; info is what Lstat
// or the open folder says. loose are the bits that its mode must not have. The error is an *Error.
func CheckFolder(path string, info fs.FileInfo, loose fs.FileMode) error {
	mode := info.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return &Error{Path: path, Problem: "is a symbolic link", Fix: "name the real folder, or remove the link", Foreign: true}
	case !mode.IsDir():
		return &Error{Path: path, Problem: "is not a folder", Fix: "remove it, or choose another path", Foreign: true}
	}
	if owner := foreignOwner(info); owner != "" {
		return &Error{
			Path: path, Problem: fmt.Sprintf("(mode %#o) belongs to %s, and this process runs as user %d", mode.Perm(), owner, os.Geteuid()),
			Fix: "choose a folder of this user, or run as the owner", Foreign: true,
		}
	}
	if got := mode.Perm(); hasModes && got&loose != 0 {
		return &Error{
			Path: path, Problem: fmt.Sprintf("has mode %#o, want %#o: other users could read or change what is in it", got, got&^loose),
			Fix: chmod(got&^loose, path),
		}
	}
	return nil
}

// chmod is the fix of a mode.
func chmod(mode fs.FileMode, path string) string {
	return fmt.Sprintf("%schmod %#o %s", Run, mode, Word(path))
}

// Run begins an Error.Fix that is a command.
const Run = "run: "

// Word makes a path one word of a shell command.
func Word(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r)
	}
	if path != "" && path[0] != '-' && !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// FileProblem says what is wrong with a file of this kind, with these permission bits (in the
// system's order, set-user-ID and the like included) and this owner; "" if it is a regular file of
// mode FileMode of this user. It is for those who open files themselves.
func FileProblem(kind, perm fs.FileMode, owner int) string {
	switch {
	case kind&fs.ModeSymlink != 0:
		return "is a symbolic link"
	case !kind.IsRegular():
		return "is not a regular file"
	case hasModes && owner != os.Geteuid():
		return fmt.Sprintf("belongs to user %d", owner)
	case hasModes && perm != FileMode:
		return fmt.Sprintf("has mode %#o, want %#o", perm, FileMode)
	}
	return ""
}

// checkFile is for a file as it was found.
func checkFile(path string, info fs.FileInfo) error {
	mode := info.Mode()
	owner, names := ownerOf(info)
	problem := FileProblem(mode.Type(), perm(mode), owner)
	fix := "remove it if nobody needs it"
	switch {
	case problem == "" && names > 1:
		return &Error{
			Path: path, Problem: "has a second name (a hard link), under which others may read or change it",
			Fix: "put a copy in its place", named: true,
		}
	case problem == "":
		return nil
	case mode.IsRegular() && hasModes && owner == os.Geteuid():
		fix = chmod(FileMode, path)
	}
	return &Error{Path: path, Problem: problem, Fix: fix}
}

// perm returns the bits of a mode as the system has them.
func perm(mode fs.FileMode) fs.FileMode {
	bits := mode.Perm()
	for flag, bit := range map[fs.FileMode]fs.FileMode{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
