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

// resetKey returns the key for the stateless resets of a node that listens at local. It returns
// nil, for a random key, if nothing is kept or if the node may have another address next time, so
// that no process would take over from it. See docs/adr/0016-stateless-resets.md.
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
	// The host name, "" if there is none, tells apart two machines that share a state folder.
	host, _ := os.Hostname()
	key, err := deriveResetKey(secret, n.identity.ID().String(), host, local.String())
	if err != nil {
		// For example, the secret may not be allowed as a key.
		n.cfg.Logger.Warn("link: deriving the key of stateless resets failed", "error", err)
		return nil
	}
	return key
}

// fixedPort reports whether the node is configured to listen on a fixed port.
func (cfg *Config) fixedPort() bool {
	_, port, err := net.SplitHostPort(cfg.Addr)
	return err == nil && port != "" && port != "0"
}

// deriveResetKey derives the key of one node at one address from the secret.
func deriveResetKey(secret []byte, identity, host, addr string) (*[32]byte, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "link/1 stateless reset\x00"+identity+"\x00"+host+"\x00"+addr, 32)
	if err != nil {
		return nil, err
	}
	return (*[32]byte)(derived), nil
}

// resetSecret returns the secret in the folder dir; "" means the default folder of this
// user. It makes both at first use.
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
	defer func() { _ = folder.Close() }()
	secret, err := folder.ReadOrMake(resetSecretName, resetSecretSize+1, func() []byte {
		secret := make([]byte, resetSecretSize)
		// Read of crypto/rand never fails.
		_, _ = rand.Read(secret)
		return secret
	})
	if err == nil && len(secret) != resetSecretSize {
		return nil, fmt.Errorf("%s has %d bytes, want %d; remove it", folder.Path(resetSecretName), len(secret), resetSecretSize)
	}
	return secret, err
}
