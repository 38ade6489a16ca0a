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

// ErrTierRefused is matched when the tier that the environment leads to is too low for it, or cannot be judged because
// LINK_ENV has an unknown value.
var ErrTierRefused = errors.New("security: tier refused")

// FromEnvironment returns the source that the environment asks for: NewClusterSource if LINK_CLUSTER_SECRET is set,
// NewDevSource otherwise. An empty namespace means DefaultNamespace.
//
// It never settles for less than the place needs. LINK_ENV says what the place is, in any case of letters: with
// production or prod both tiers are refused; development, dev, test or nothing allow both, except that inside
// Kubernetes the dev tier is refused; any other value is refused, since it may be a misspelled production. Those errors
// match ErrTierRefused and say what to set.
// LINK_CLUSTER_SECRET set to nothing is an error that matches ErrBadSecret, since it is most likely a secret that
// failed to arrive.
func FromEnvironment(service, namespace string) (Source, error) {
	return FromVariables(os.LookupEnv, service, namespace)
}

// FromVariables is FromEnvironment with the variables that lookup knows.
func FromVariables(lookup func(name string) (value string, ok bool), service, namespace string) (Source, error) {
	secret, hasSecret := lookup(envClusterSecret)
	tier := TierDev
	if hasSecret {
		tier = TierClusterSecret
	}
	mode, _ := lookup(envMode)
	switch strings.ToLower(strings.TrimSpace(mode)) {
	case "", "development", "dev", "test":
	case "production", "prod":
		return nil, fmt.Errorf("%w: %s=production needs tier production, but the environment gives tier %s: "+
			"set link.Config.Identity to a security.Source of tier production in the program (link has none built in yet, so it is one of your own), "+
			"or unset %s, which lets members of the cluster secret take any service's name",
			ErrTierRefused, envMode, tier, envMode)
	default:
		return nil, fmt.Errorf("%w: %s=%.64q is unknown: set it to production (or prod), development (or dev), or test, or unset %s",
			ErrTierRefused, envMode, mode, envMode)
	}
	kubernetes, _ := lookup(envKubernetes)
	switch {
	case tier == TierDev && kubernetes != "":
		return nil, fmt.Errorf(`%w: the dev tier inside Kubernetes (%s is set): `+
			`set %s to %s, the same in all pods, or set link.Config.Identity to a source of your own`,
			ErrTierRefused, envKubernetes, envClusterSecret, secretMaker)
	case tier == TierDev:
		return NewDevSource(service, namespace)
	case strings.TrimSpace(secret) == "":
		return nil, fmt.Errorf(`%w: %s is set but empty: set it to %s, the same on all nodes, or unset it`,
			ErrBadSecret, envClusterSecret, secretMaker)
	}
	source, err := NewClusterSource(secret, service, namespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envClusterSecret, err)
	}
	return source, nil
}
