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

// A DevSecretError says why the file of the dev secret, or its folder, cannot be used.
type DevSecretError struct {
	Path    string // the file or folder
	Problem string // what is wrong
	Fix     string // a command that fixes it; empty when there is no simple one
	Err     error  // the cause; may be nil
}

// Error names the path, the problem and the command that fixes it.
func (e *DevSecretError) Error() string {
	text := "security: dev secret: " + e.Path + " " + e.Problem
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

// devSecret reads the secret in the folder at path, making both on first use.
func devSecret(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), private.FolderMode); err != nil {
		return nil, &DevSecretError{Path: path, Problem: "cannot be made", Err: err}
	}
	folder, _, err := private.Make(path)
	if err != nil {
		return nil, unfitFolder(path, err)
	}
	defer func() { _ = folder.Close() }() // what matters is synced
	path = folder.Path(devSecretName)
	size := base64.RawURLEncoding.EncodedLen(MinSecretBytes)
	text, err := folder.ReadOrMake(devSecretName, maxDevSecret, func() []byte { return []byte(NewSecret()) })
	if err != nil {
		return nil, unfitFile(path, err)
	}
	if len(text) != size {
		return nil, &DevSecretError{Path: path, Problem: fmt.Sprintf("has %d bytes, want %d", len(text), size), Fix: removing(path)}
	}
	secret, err := parseSecret(string(text))
	if err != nil {
		return nil, &DevSecretError{Path: path, Problem: "is damaged: the secret in it", Err: err, Fix: removing(path)}
	}
	return secret, nil
}

// maxDevSecret is how much of the file is read: more than it has, so that one that is too long is noticed.
const maxDevSecret = 1024

// unfitFolder is the error of the folder of the secret.
func unfitFolder(path string, err error) error {
	e, ok := errors.AsType[*private.Error](err)
	if !ok {
		return &DevSecretError{Path: path, Problem: "cannot be used", Err: err}
	}
	if command, ok := strings.CutPrefix(e.Fix, private.Run); ok {
		return &DevSecretError{Path: path, Problem: e.Problem, Fix: command}
	}
	return &DevSecretError{Path: path, Problem: e.Problem + "; " + e.Fix + ": HOME or XDG_CONFIG_HOME says where it is"}
}

// unfitFile is the error of the file of the secret, which is made anew when it is gone.
func unfitFile(path string, err error) error {
	e, ok := errors.AsType[*private.Error](err)
	switch {
	case errors.Is(err, private.ErrLarger):
		return &DevSecretError{Path: path, Problem: fmt.Sprintf("has more than %d bytes", maxDevSecret), Fix: removing(path)}
	case !ok:
		return &DevSecretError{Path: path, Problem: "cannot be used", Err: err}
	}
	if command, ok := strings.CutPrefix(e.Fix, private.Run); ok {
		return &DevSecretError{Path: path, Problem: e.Problem, Fix: command}
	}
	return &DevSecretError{Path: path, Problem: e.Problem, Fix: removing(path)}
}

// removing is the command that removes what is at path, "" for a folder: there may be something in it.
func removing(path string) string {
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return ""
	}
	return "rm " + private.Word(path)
}
