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
	// envKubernetes is set by Kubernetes in every container.
	envKubernetes = "KUBERNETES_SERVICE_HOST"
)

// ErrTierRefused is matched if the tier of the source is too low for the environment, or if LINK_ENV has an unknown
// value.
var ErrTierRefused = errors.New("security: tier refused")

// FromEnvironment returns the source for a service that the environment variables select: NewClusterSource if
// LINK_CLUSTER_SECRET is set, NewDevSource otherwise. An empty namespace means "default". The variables are looked up with
// lookup, which returns the value of a variable and whether it is set; nil means os.LookupEnv.
//
// It never returns a tier that is too low for the environment, which LINK_ENV names, ignoring case. The values
// production and prod refuse both tiers. The values development, dev, test and an empty or unset LINK_ENV allow both,
// except that the dev tier is refused inside Kubernetes. Any other value is refused, since it may be a misspelled
// production. Those errors match ErrTierRefused and say what to set.
//
// If LINK_CLUSTER_SECRET is set but empty, the error matches ErrInvalid: most likely the secret was not delivered.
// The other errors are those of NewClusterSource and NewDevSource.
func FromEnvironment(lookup func(name string) (value string, ok bool), service, namespace string) (Source, error) {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	secret, hasSecret := lookup(envClusterSecret)
	tier := TierDev
	if hasSecret {
		tier = TierClusterSecret
	}
	mode := value(lookup, envMode)
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
	kubernetes := value(lookup, envKubernetes)
	switch {
	case tier == TierDev && kubernetes != "":
		return nil, fmt.Errorf(`%w: the dev tier inside Kubernetes (%s is set): `+
			`set %s to %s, the same in all pods, or set link.Config.Identity to a source of your own`,
			ErrTierRefused, envKubernetes, envClusterSecret, secretMaker)
	case tier == TierDev:
		return NewDevSource(service, namespace)
	case strings.TrimSpace(secret) == "":
		return nil, fmt.Errorf(`%w: %s is set but empty: set it to %s, the same on all nodes, or unset it`,
			errBadSecret, envClusterSecret, secretMaker)
	}
	source, err := NewClusterSource(secret, service, namespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envClusterSecret, err)
	}
	return source, nil
}

// value returns what lookup finds, "" if it finds nothing.
func value(lookup func(string) (string, bool), name string) string {
	if v, ok := lookup(name); ok {
		return v
	}
	return ""
}
