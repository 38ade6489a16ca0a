package security

// clusterTrustDomain is the trust domain of TierClusterSecret.
const clusterTrustDomain = "cluster.link"

// clusterLabel is the HKDF info of cluster roots. Nodes with different labels do not trust each other, so a change
// would split every mesh.
const clusterLabel = "link/v1/root"

// NewClusterSource returns a source of TierClusterSecret for a service; an empty namespace means "default".
//
// The secret is at least 32 random bytes in base64, base64url or hexadecimal, as NewSecret makes them; the text, with an
// old secret, has at most 4096 bytes.
// They must be random: whoever can reach a node sees the derived public key and could try passphrases offline.
//
// To replace a secret without interruption, give "new,old" to every node in turn, and then "new". A node with both
// secrets trusts nodes with either one, and they trust it.
//
// Errors match ErrInvalid, say whether the secret or a name is wrong, and never show the secret.
func NewClusterSource(secret, service, namespace string) (Source, error) {
	secrets, err := parseSecrets(secret)
	if err != nil {
		return nil, err
	}
	return newSource(TierClusterSecret, clusterLabel, clusterTrustDomain, service, namespace, secrets)
}

// defaultNamespace is the namespace of a source that was given an empty one: that of package discovery.
const defaultNamespace = "default"

// newSource returns a derivedSource as a Source, so that the Source is nil if there is an error.
func newSource(tier Tier, label, trustDomain, service, namespace string, secrets [][]byte) (Source, error) {
	if namespace == "" {
		namespace = defaultNamespace
	}
	id, err := NewID(trustDomain, namespace, service)
	if err != nil {
		return nil, err
	}
	source, err := newDerivedSource(tier, label, id, secrets)
	if err != nil {
		return nil, err
	}
	return source, nil
}
