package security

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	envClusterSecret = "LINK_CLUSTER_SECRET" //nolint:gosec // the name of a secret, not one
	envMode          = "LINK_ENV"
	envKubernetes    = "KUBERNETES_SERVICE_HOST" // set in every container by Kubernetes
)

// ErrTierRefused is matched when the tier that the environment leads to is too low for it.
var ErrTierRefused = errors.New("security: tier refused")

// FromEnvironment returns the source that the environment asks for: NewClusterSource if LINK_CLUSTER_SECRET is set,
// NewDevSource otherwise. An empty namespace means DefaultNamespace.
//
// It never settles for less than the place needs. With LINK_ENV=production (or prod, in any case) both tiers are
// refused, and inside Kubernetes the dev tier is; those errors match ErrTierRefused and say what to set.
// LINK_CLUSTER_SECRET set to nothing is an error that matches ErrBadSecret, since it is most likely a secret that
// failed to arrive.
func FromEnvironment(service, namespace string) (Source, error) {
	secret, hasSecret := os.LookupEnv(envClusterSecret)
	tier := TierDev
	if hasSecret {
		tier = TierClusterSecret
	}
	switch mode := strings.ToLower(strings.TrimSpace(os.Getenv(envMode))); {
	case mode == "production", mode == "prod":
		return nil, fmt.Errorf("%w: %s=production needs tier production, but the environment gives tier %s: "+
			"configure an identity source of tier production (certificate authority, SPIFFE or files), or unset %s",
			ErrTierRefused, envMode, tier, envMode)
	case tier == TierDev && os.Getenv(envKubernetes) != "":
		return nil, fmt.Errorf(`%w: the dev tier inside Kubernetes (%s is set): `+
			`set %s to the output of "link secret new", the same in all pods, or configure an identity source`,
			ErrTierRefused, envKubernetes, envClusterSecret)
	case tier == TierDev:
		return NewDevSource(service, namespace)
	case strings.TrimSpace(secret) == "":
		return nil, fmt.Errorf(`%w: %s is set but empty: set it to the output of "link secret new", or unset it`,
			ErrBadSecret, envClusterSecret)
	}
	source, err := NewClusterSource(secret, service, namespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envClusterSecret, err)
	}
	return source, nil
}
