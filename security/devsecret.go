package security

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/linkmesh/link/internal/private"
)

const devSecretName = "dev.secret"

// A devSecretError says why the file of the dev secret, or its folder, cannot be used. It matches ErrInvalid.
type devSecretError struct {
	// path is the file or folder.
	path    string
	problem string

	// fix is a command that fixes the problem. It is empty if there is no simple one.
	fix string

	// err is the cause. It may be nil.
	err error
}

// Error returns the path, the problem, the cause and the command that fixes it.
func (e *devSecretError) Error() string {
	text := "security: dev secret: " + e.path + " " + e.problem
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	if e.fix != "" {
		text += ": run: " + e.fix
	}
	return text
}

// Unwrap returns ErrInvalid and, if there is one, the cause.
func (e *devSecretError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrInvalid}
	}
	return []error{ErrInvalid, e.err}
}

// devSecret reads the secret in the folder at path, and creates both on first use.
func devSecret(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), private.FolderMode); err != nil {
		return nil, &devSecretError{path: path, problem: "cannot be made", err: err}
	}
	folder, _, err := private.Make(path)
	if err != nil {
		return nil, unfitFolder(path, err)
	}
	// An error of Close does not matter: the secret has been synced.
	defer func() { _ = folder.Close() }()
	path = folder.Path(devSecretName)
	size := base64.RawURLEncoding.EncodedLen(minSecretBytes)
	text, err := folder.ReadOrMake(devSecretName, maxDevSecret, func() []byte { return []byte(NewSecret()) })
	if err != nil {
		return nil, unfitFile(path, err)
	}
	if len(text) != size {
		return nil, &devSecretError{path: path, problem: fmt.Sprintf("has %d bytes, want %d", len(text), size), fix: removing(path)}
	}
	secret, err := parseSecret(string(text))
	if err != nil {
		return nil, &devSecretError{path: path, problem: "is damaged: the secret in it", err: err, fix: removing(path)}
	}
	return secret, nil
}

// maxDevSecret bounds the bytes read from the file. It exceeds the length of a secret, so that a longer one is detected.
const maxDevSecret = 1024

// unfitFolder returns the error for an unusable folder of the secret.
func unfitFolder(path string, err error) error {
	e, ok := errors.AsType[*private.Error](err)
	if !ok {
		return &devSecretError{path: path, problem: "cannot be used", err: err}
	}
	if command, ok := strings.CutPrefix(e.Fix, private.Run); ok {
		return &devSecretError{path: path, problem: e.Problem, fix: command}
	}
	return &devSecretError{path: path, problem: e.Problem + "; " + e.Fix + ": HOME or XDG_CONFIG_HOME says where it is"}
}

// unfitFile returns the error for an unusable file of the secret. Removing the file is a fix: a new one is created.
func unfitFile(path string, err error) error {
	e, ok := errors.AsType[*private.Error](err)
	switch {
	case errors.Is(err, private.ErrLarger):
		return &devSecretError{path: path, problem: fmt.Sprintf("has more than %d bytes", maxDevSecret), fix: removing(path)}
	case !ok:
		return &devSecretError{path: path, problem: "cannot be used", err: err}
	}
	if command, ok := strings.CutPrefix(e.Fix, private.Run); ok {
		return &devSecretError{path: path, problem: e.Problem, fix: command}
	}
	return &devSecretError{path: path, problem: e.Problem, fix: removing(path)}
}

// removing returns the command that removes the file at path. It returns "" for a folder, which may not be empty.
func removing(path string) string {
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return ""
	}
	return "rm " + private.Word(path)
}
