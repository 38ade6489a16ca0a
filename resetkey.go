package link

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/linkmesh/link/internal/private"
)

const (
	// noState is the Config.StateDir of a node that keeps nothing.
	noState = "off"
	// resetSecretName is the file with the secret that reset keys are derived from.
	resetSecretName = "reset.secret"
	resetSecretSize = 32
)

// resetKey returns the key of the stateless resets of a node that listens at local, or nil if
// it is to be drawn: the node may have another address next time, so nobody would take over from
// it, or nothing is kept. See docs/adr/0016-stateless-resets.md.
func (n *Node) resetKey(local net.Addr) *[32]byte {
	if n.cfg.StateDir == noState || n.cfg.Socket == nil && !n.cfg.fixedPort() {
		return nil
	}
	secret, err := resetSecret(n.cfg.StateDir)
	if err != nil {
		n.cfg.Logger.Warn("link: a restart of this node at its address will be noticed late: no secret can be kept for its stateless resets",
			"error", err, "fix", `set Config.StateDir or LINK_STATE_DIR to a folder of this user, or to "off"`)
		return nil
	}
	host, _ := os.Hostname() // "" if there is none: two machines with one state folder are told apart by it
	key, err := deriveResetKey(secret, n.identity.ID().String(), host, local.String())
	if err != nil { // as for a key that is not allowed to be used
		n.cfg.Logger.Warn("link: deriving the key of stateless resets failed", "error", err)
		return nil
	}
	return key
}

// fixedPort reports whether the node listens on a port that it was told.
func (cfg *Config) fixedPort() bool {
	_, port, err := net.SplitHostPort(cfg.Addr)
	return err == nil && port != "" && port != "0"
}

// deriveResetKey returns the key of one node at one address.
func deriveResetKey(secret []byte, identity, host, addr string) (*[32]byte, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "link/1 stateless reset\x00"+identity+"\x00"+host+"\x00"+addr, 32)
	if err != nil {
		return nil, err
	}
	return (*[32]byte)(derived), nil
}

// resetSecret returns the secret in the folder dir, "" for that of this user. It makes
// both at first use.
func resetSecret(dir string) ([]byte, error) {
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
	defer func() { _ = folder.Close() }() // only read
	secret, err := folder.ReadOrMake(resetSecretName, resetSecretSize+1, func() []byte {
		secret := make([]byte, resetSecretSize)
		_, _ = rand.Read(secret) // never fails
		return secret
	})
	if err == nil && len(secret) != resetSecretSize {
		return nil, fmt.Errorf("%s has %d bytes, want %d; remove it", folder.Path(resetSecretName), len(secret), resetSecretSize)
	}
	return secret, err
}
