// Package private manages folders and files that only the user of this process can access.
//
// # Overview
//
// The files of a program are a target if others can write to their folder: a link planted under the
// name of a file redirects the program's writes, and as root it could overwrite any file. A [Folder]
// is therefore opened once, checked before and after opening, and kept open: it belongs to this user,
// is inaccessible to all others and is not a symbolic link. Later changes of its path have no effect.
// The files in it are opened by name relative to the folder, and checked the same way.
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
// none waits for the other end of a pipe. A file is never truncated on opening. The parents of the
// folder are not checked: their owners may move the folder away, but cannot read it.
//
// On systems without owners and permission bits, such as Windows, only links and file types are
// checked; there the access control lists of the user's own folders keep others out.
//
// # Errors
//
// [*Error] says what is wrong with which path and how to fix it; it matches [ErrUnsafe]. All other
// errors come from the file system.
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

// Modes of the folders and files that this package creates.
const (
	FolderMode fs.FileMode = 0o700
	FileMode   fs.FileMode = 0o600

	// Loose are the permission bits that give others access to a folder.
	Loose fs.FileMode = 0o077
)

// Error says that a folder or file is accessible to others, or is of the wrong type.
type Error struct {
	Path string

	// Problem follows the path in messages: "is a symbolic link".
	Problem string

	// Fix says what to do. It is empty if that depends on the use of the folder.
	Fix string

	// Foreign reports that this user did not create the folder or file: only another path helps.
	Foreign bool

	// named reports that the problem is a second name.
	named bool
}

// Error returns the path, the problem and how to fix it.
func (e *Error) Error() string {
	text := e.Path + " " + e.Problem
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}

// Is reports whether target is ErrUnsafe.
func (e *Error) Is(target error) bool { return target == ErrUnsafe }

// CheckFolder returns an *Error if others can access the folder at path. Info is the result of
// Lstat, or of Stat on the open folder. Loose are the permission bits that its mode must not have.
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

// chmod returns the Error.Fix for a wrong mode.
func chmod(mode fs.FileMode, path string) string {
	return fmt.Sprintf("%schmod %#o %s", Run, mode, Word(path))
}

// Run is the prefix of an Error.Fix that is a command.
const Run = "run: "

// Word quotes a path, if necessary, as one word of a shell command.
func Word(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r)
	}
	if path != "" && path[0] != '-' && !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// FileProblem says what is wrong with a file of the given type, permission bits and owner. It returns
// "" for a regular file of this user with mode FileMode. Perm has the bits as the system has them,
// including set-user-ID and the like. It is for callers that open files themselves.
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

// checkFile returns an *Error if a file is not private to this user, or has more than one name.
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

// perm returns the permission bits of a mode as the system has them, including set-user-ID and the like.
func perm(mode fs.FileMode) fs.FileMode {
	bits := mode.Perm()
	for flag, bit := range map[fs.FileMode]fs.FileMode{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
