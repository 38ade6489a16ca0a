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
	// Path is the file or folder.
	Path    string
	Problem string

	// Fix is a command that fixes the problem. It is empty if there is no simple one.
	Fix string

	// Err is the cause. It may be nil.
	Err error
}

// Error returns the path, the problem, the cause and the command that fixes it.
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

// Unwrap returns the cause.
func (e *DevSecretError) Unwrap() error { return e.Err }

// devSecret reads the secret in the folder at path, and creates both on first use.
func devSecret(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), private.FolderMode); err != nil {
		return nil, &DevSecretError{Path: path, Problem: "cannot be made", Err: err}
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
		return nil, &DevSecretError{Path: path, Problem: fmt.Sprintf("has %d bytes, want %d", len(text), size), Fix: removing(path)}
	}
	secret, err := parseSecret(string(text))
	if err != nil {
		return nil, &DevSecretError{Path: path, Problem: "is damaged: the secret in it", Err: err, Fix: removing(path)}
	}
	return secret, nil
}

// maxDevSecret bounds the bytes read from the file. It exceeds the length of a secret, so that a longer one is detected.
const maxDevSecret = 1024

// unfitFolder returns the error for an unusable folder of the secret.
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

// unfitFile returns the error for an unusable file of the secret. Removing the file is a fix: a new one is created.
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

// removing returns the command that removes the file at path. It returns "" for a folder, which may not be empty.
func removing(path string) string {
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		return ""
	}
	return "rm " + private.Word(path)
}
