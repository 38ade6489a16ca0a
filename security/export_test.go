package security

import "crypto/x509"

// UnfitFolder returns the error for a folder that cannot hold a secret.
func UnfitFolder(path string, err error) error { return unfitFolder(path, err) }

// UnfitFile returns the error for a file that cannot hold a secret.
func UnfitFile(path string, err error) error { return unfitFile(path, err) }

// DeriveCluster returns the root derived from a cluster secret.
func DeriveCluster(secret []byte) (*x509.Certificate, error) {
	a, err := newAuthority(secret, clusterLabel, clusterTrustDomain)
	if err != nil {
		return nil, err
	}
	return a.root, nil
}

// DeriveWithDevLabel returns the root of a trust domain derived from a secret with the label of the dev tier.
func DeriveWithDevLabel(secret []byte, trustDomain string) (*x509.Certificate, error) {
	a, err := newAuthority(secret, devLabel, trustDomain)
	if err != nil {
		return nil, err
	}
	return a.root, nil
}

// The names and bounds that the comments of the package tell.
const (
	ClusterTrustDomain = clusterTrustDomain
	DevTrustDomain     = devTrustDomain
	MaxBundleRoots     = maxBundleRoots
)
