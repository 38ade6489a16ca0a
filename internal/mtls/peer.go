package mtls

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/security"
)

// A Peer describes the other side of a verified connection. It does not change during the connection.
type Peer struct {
	// ID is the peer's verified identity.
	ID security.ID
	// NotAfter is the time at which the leaf expires. A connection of a node ends in the second in which it does.
	NotAfter time.Time
	// SPKI is the SHA-256 of the public key in the leaf (its SubjectPublicKeyInfo in DER).
	// Unlike a fingerprint of the certificate, it cannot be changed by a party that forwards the certificate.
	SPKI [sha256.Size]byte
	// Serial is the leaf's serial number in lower-case hexadecimal. It is unique per issuer.
	Serial string
}

// ErrIncomplete means that a handshake has not ended.
var ErrIncomplete = errors.New("mtls: the handshake is not complete")

// PeerFromState returns the peer of a connection made with a configuration of this package, after its handshake.
// It does not verify the peer: the handshake has. The error matches ErrIncomplete before the end of the handshake,
// security.ReasonNoCertificate without a certificate, and is a *security.VerifyError for a leaf that no handshake would
// have accepted.
func PeerFromState(state tls.ConnectionState) (Peer, error) {
	if !state.HandshakeComplete {
		return Peer{}, ErrIncomplete
	}
	if len(state.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("mtls: the peer of the connection: %w", security.ReasonNoCertificate)
	}
	leaf := state.PeerCertificates[0]
	id, problem := checkLeaf(leaf)
	if problem != nil {
		return Peer{}, problem
	}
	return Peer{
		ID:       id,
		NotAfter: leaf.NotAfter,
		SPKI:     sha256.Sum256(leaf.RawSubjectPublicKeyInfo),
		Serial:   leaf.SerialNumber.Text(16),
	}, nil
}
