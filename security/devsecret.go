package security

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	devSecretName = "dev.secret"

	devFileMode   fs.FileMode = 0o600
	devFolderMode fs.FileMode = 0o700
)

// A DevSecretError says why the file of the dev secret, or its folder, cannot be used.
type DevSecretError struct {
	Path    string      // the file or folder
	Mode    fs.FileMode // what was found there; zero when nothing could be read
	Problem string      // what is wrong
	Fix     string      // a command that fixes it; empty when there is no simple one
	Err     error       // the cause; may be nil
}

// Error names the path, the mode found, the problem and the command that fixes it.
func (e *DevSecretError) Error() string {
	text := "security: dev secret: " + e.Path
	if e.Mode != 0 {
		text += fmt.Sprintf(" (mode %v, %#o)", e.Mode, e.Mode.Perm())
	}
	text += " " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Fix != "" {
		text += ": run: " + e.Fix
	}
	return text
}

// Unwrap gives the cause.
func (e *DevSecretError) Unwrap() error { return e.Err }

// devSecret reads the secret in folder, making both on first use.
func devSecret(folder string) ([]byte, error) {
	if err := os.MkdirAll(folder, devFolderMode); err != nil {
		return nil, &DevSecretError{Path: folder, Problem: "cannot be made", Err: err}
	}
	if err := checkPrivate(folder, fs.ModeDir, devFolderMode); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, devSecretName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeDevSecret(folder, path); err != nil {
			return nil, &DevSecretError{Path: path, Problem: "cannot be made", Err: err}
		}
	}
	return readDevSecret(path)
}

// makeDevSecret makes the file complete or not at all, and never replaces one: of several processes, the first to
// link its temporary file wins, and all of them read the winner's.
func makeDevSecret(folder, path string) error {
	file, err := os.CreateTemp(folder, devSecretName+".*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(NewSecret())
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func readDevSecret(path string) ([]byte, error) {
	if err := checkPrivate(path, 0, devFileMode); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0) //nolint:gosec // the path is the user's own
	if err != nil {
		return nil, &DevSecretError{Path: path, Problem: "cannot be opened", Err: err}
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat() // again, on what was opened: the path may have changed meanwhile
	if err != nil {
		return nil, &DevSecretError{Path: path, Problem: "cannot be examined", Err: err}
	}
	if err := privateProblem(path, info, 0, devFileMode); err != nil {
		return nil, err
	}
	size := base64.RawURLEncoding.EncodedLen(MinSecretBytes)
	text, err := io.ReadAll(io.LimitReader(file, int64(size)+1))
	if err != nil {
		return nil, &DevSecretError{Path: path, Mode: info.Mode(), Problem: "cannot be read", Err: err}
	}
	if len(text) != size {
		return nil, &DevSecretError{
			Path: path, Mode: info.Mode(), Fix: "rm " + shellQuote(path),
			Problem: fmt.Sprintf("has %d bytes, want %d", info.Size(), size),
		}
	}
	secret, err := parseSecret(string(text))
	if err != nil {
		return nil, &DevSecretError{
			Path: path, Mode: info.Mode(), Problem: "is damaged: the secret in it", Err: err, Fix: "rm " + shellQuote(path),
		}
	}
	return secret, nil
}

// checkPrivate examines path itself, not what a symbolic link there points to.
func checkPrivate(path string, kind, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return &DevSecretError{Path: path, Problem: "cannot be examined", Err: err}
	}
	if err := privateProblem(path, info, kind, mode); err != nil {
		return err
	}
	return nil
}

// privateProblem is nil for a path of the right type, of this user, and closed to everyone else.
func privateProblem(path string, info fs.FileInfo, kind, mode fs.FileMode) error {
	problem := &DevSecretError{Path: path, Mode: info.Mode()}
	switch found := info.Mode().Type(); {
	case found == kind:
	case found == fs.ModeSymlink:
		problem.Problem, problem.Fix = "is a symbolic link", "rm "+shellQuote(path)
		return problem
	case kind == fs.ModeDir:
		problem.Problem = "is not a folder"
		return problem
	default:
		problem.Problem = "is not a regular file"
		return problem
	}
	if owner := foreignOwner(info); owner != "" {
		problem.Problem = "belongs to " + owner + ", not to the user of this process"
		if kind == fs.ModeDir {
			problem.Problem += "; run as that user, or set HOME or XDG_CONFIG_HOME to a folder of this user"
		} else {
			problem.Fix = "rm " + shellQuote(path) // its folder is this user's, and the secret is made anew
		}
		return problem
	}
	if hasModes && info.Mode().Perm()&^mode != 0 {
		problem.Problem = fmt.Sprintf("is open to other users, want mode %#o", mode)
		problem.Fix = fmt.Sprintf("chmod %o %s", mode, shellQuote(path))
		return problem
	}
	return nil
}
