// Package security gives every node of a mesh an identity and verifies the identity of every peer.
//
// # Overview
//
// An identity is a SPIFFE ID built from names: spiffe://<trust domain>/ns/<namespace>/svc/<service>, see [ID].
// A [Source] holds a node's own identity as an X509-SVID (a short-lived certificate with its key) and the roots it
// trusts, one [Bundle] per trust domain. A node takes a Source from link.Config.Identity, or one that the environment
// selects, and both sides of each of its connections prove their identity. No option turns the checks off. The TLS
// configurations with these checks are in internal/mtls.
//
// There are three tiers; [Source.Tier] returns the tier of a Source:
//
//   - [TierDev]: a secret created once in the user's configuration folder. Proves the same user on the same machine.
//   - [TierClusterSecret]: a secret shared by all nodes. Proves membership of the mesh; since every holder can
//     choose its own name, service names are advisory.
//   - [TierProduction]: a certificate authority vouches for each service's own name.
//
// The first two need no server: every node derives the same Ed25519 root from the secret (HKDF-SHA256, RFC 5869)
// and issues its own leaf. [FromEnvironment] selects one of them, and refuses a tier that is too low for the
// environment.
//
// # Usage
//
//	src, err := security.FromEnvironment(nil, "orders", "") // LINK_CLUSTER_SECRET, or the dev tier
//	if err != nil {
//		return err
//	}
//	defer src.Close()
//	node, err := link.New(link.Config{Service: "orders", Identity: src})
//
// # Guarantees
//
// After the handshake of a connection: it is TLS 1.3, it was not resumed, it speaks exactly the
// protocol of the mesh, and the peer holds the key of a currently valid X509-SVID that chains to a root of its own
// trust domain. On the dialing side the peer is exactly the expected service, regardless of what discovery returned.
// In TLS 1.3 the dialing side finishes first: only the first bytes from the server tell it that it was accepted.
//
// Key exchange is Go's default, which prefers the hybrid X25519MLKEM768; certificates are classical.
//
// # Limits
//
// A bundle has at most 16 roots. A peer shows at most 5 certificates, of at most 16 KiB together.
//
// # Concurrency
//
// Everything here is safe for concurrent use. The package starts no goroutines.
//
// # Errors
//
// The error for a refused peer is a [*VerifyError]. Its [Reason] is one of a fixed set, usable as a metric label, and
// is itself an error: errors.Is(err, security.ReasonExpired). What is given to this package and is not valid (an ID, a
// bundle, a cluster secret, the file of the dev secret) is [ErrInvalid], and a tier that is too low is [ErrTierRefused].
//
// # Testing
//
// Package securitytest has an in-memory certificate authority, which can also make invalid certificates.
package security

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
)

var (
	// ErrInvalid is matched by the errors about an ID, a bundle or a cluster secret that is not valid, and about the
	// file of the dev secret. Their text says which of them it is and what is wrong, and never shows a secret.
	ErrInvalid = errors.New("security: invalid")

	// ErrClosed is returned by the methods of a Source after its Close.
	ErrClosed = errors.New("security: source is closed")
)

// A Source holds a node's identity and the roots it trusts. It is queried on every handshake, so certificates and
// roots can change while connections stay up.
//
// Implementations are safe for concurrent use. The values they return are shared: callers must not change them.
type Source interface {
	// ID returns the node's own identity. It never changes.
	ID() ID
	// SVID returns the node's current certificate and key. It is called once per handshake and must be cheap; it
	// never waits long for I/O. It returns an error rather than a certificate known to be unusable.
	SVID() (*SVID, error)
	// Bundle returns the roots of one trust domain, never a union of several.
	// For an unknown trust domain the error matches ReasonTrustDomain.
	Bundle(trustDomain string) (*Bundle, error)
	// Changed returns a channel that is closed on the next change of the certificate or of a bundle. Call it again
	// for the change after that. Sources that renew inside SVID, as in this package, notice that a renewal is due
	// only when SVID is called. Close does not close the channel.
	Changed() <-chan struct{}
	// Tier says what the identity proves. It never changes.
	Tier() Tier
	// Close releases the source's resources and waits for its goroutines, if any. It may be called more than once.
	Close() error
}

// An SVID is an X509-SVID: a certificate for an identity, with its private key.
// It prints and marshals as its identity and is not encoded by gob, so the key is never printed. The tls.Certificate in
// it is a plain crypto/tls type, which hides nothing when printed by itself.
type SVID struct {
	// ID is the identity in the certificate.
	ID ID
	// Certificate is the chain in DER, leaf first and without the root, the leaf's private key as a crypto.Signer,
	// and the parsed leaf.
	Certificate tls.Certificate
}

// String returns the identity, without the key.
func (s SVID) String() string { return "SVID(" + s.ID.String() + ")" }

// Format prints String for every verb, so that no verb shows the key.
func (s SVID) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue returns the identity, without the key.
func (s SVID) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns String, for JSON, XML and other encodings.
func (s SVID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// GobEncode always fails, because another program would read what gob writes.
func (s SVID) GobEncode() ([]byte, error) { return nil, errHidden }

// GobDecode always fails.
func (s *SVID) GobDecode([]byte) error { return errHidden }
