package security

import (
	"fmt"
	"os"
	"path/filepath"
)

// devTrustDomain is the trust domain of TierDev.
const devTrustDomain = "dev.link"

// devLabel is the HKDF info of dev roots. It differs from clusterLabel so that a dev secret pasted into
// LINK_CLUSTER_SECRET, or the other way round, gives an unrelated root.
const devLabel = "link/v1/dev-root"

// NewDevSource returns a source of TierDev for a service; an empty namespace means "default".
//
// Its secret is stored in the file link/dev.secret in os.UserConfigDir, which is created on first use. Processes that
// start at the same time agree on one secret. The file and its folder must belong to the user and be inaccessible to
// everyone else (modes 0600 and 0700); otherwise the error matches [ErrInvalid], names the file or folder and says how to fix it.
// A name that is not valid is an ErrInvalid, too.
func NewDevSource(service, namespace string) (Source, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("security: no place for the dev secret: %w: "+
			"set HOME or XDG_CONFIG_HOME to a folder of this user, or set LINK_CLUSTER_SECRET", err)
	}
	secret, err := devSecret(filepath.Join(config, "link"))
	if err != nil {
		return nil, err
	}
	return newSource(TierDev, devLabel, devTrustDomain, service, namespace, [][]byte{secret})
}
