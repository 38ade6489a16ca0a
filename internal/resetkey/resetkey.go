// Package resetkey makes the keys with which the next process at an address ends the connections of the one before. They are
// derived from a secret in a folder of the user. See docs/adr/0016-stateless-resets.md.
package resetkey

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/linkmesh/link/internal/private"
)

const (
	// secretName is the file with the secret that keys are derived from.
	secretName = "reset.secret"
	secretSize = 32
)

// Derive derives the key of one node at one address from the secret.
func Derive(secret []byte, identity, host, addr string) (*[32]byte, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "link/1 stateless reset\x00"+identity+"\x00"+host+"\x00"+addr, 32)
	if err != nil {
		return nil, err
	}
	return (*[32]byte)(derived), nil
}

// Secret returns the secret in the folder dir; "" means the default folder of this
// user. It makes both at first use.
func Secret(dir string) ([]byte, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cache, "link", "state")
	}
	if err := os.MkdirAll(filepath.Dir(dir), private.FolderMode); err != nil {
		return nil, err
	}
	folder, _, err := private.Make(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	secret, err := folder.ReadOrMake(secretName, secretSize+1, func() []byte {
		secret := make([]byte, secretSize)
		// Read of crypto/rand never fails.
		_, _ = rand.Read(secret)
		return secret
	})
	if err == nil && len(secret) != secretSize {
		return nil, fmt.Errorf("%s has %d bytes, want %d; remove it", folder.Path(secretName), len(secret), secretSize)
	}
	return secret, err
}
