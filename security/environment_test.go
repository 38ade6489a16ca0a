package security_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/linkmesh/link/security"
)

func TestFromEnvironment(t *testing.T) { // SEC-313
	const unset = "\x00"
	good := security.NewSecret()
	for _, tc := range []struct {
		name                     string
		secret, mode, kubernetes string
		tier                     security.Tier
		err                      error
		says                     string
	}{
		{name: "nothing set", secret: unset, tier: security.TierDev},
		{name: "cluster secret", secret: good, tier: security.TierClusterSecret},
		{name: "cluster secret in rotation", secret: good + "," + security.NewSecret(), tier: security.TierClusterSecret},
		{name: "cluster secret in Kubernetes", secret: good, kubernetes: "10.0.0.1", tier: security.TierClusterSecret},
		{name: "development", secret: unset, mode: "development", tier: security.TierDev},
		{name: "development in other words", secret: unset, mode: "Dev", tier: security.TierDev},
		{name: "test", secret: good, mode: "test", tier: security.TierClusterSecret},
		{name: "set to nothing", secret: unset, mode: " ", tier: security.TierDev},
		{name: "unknown environment", secret: good, mode: "staging", err: security.ErrTierRefused, says: `LINK_ENV="staging" is unknown: set it to production`},
		{name: "misspelled production", secret: unset, mode: "prodution", err: security.ErrTierRefused, says: "development (or dev), or test, or unset"},
		{name: "dev in Kubernetes", secret: unset, kubernetes: "10.0.0.1", err: security.ErrTierRefused, says: `set LINK_CLUSTER_SECRET to the output of "openssl rand -base64 32"`},
		{name: "dev in production", secret: unset, mode: "production", err: security.ErrTierRefused, says: "link.Config.Identity to a security.Source of tier production"},
		{name: "cluster secret in production", secret: good, mode: "production", err: security.ErrTierRefused, says: "tier cluster-secret"},
		{name: "production in other words", secret: good, mode: " PROD ", err: security.ErrTierRefused, says: "LINK_ENV"},
		{
			name: "production in Kubernetes", secret: unset, mode: "production", kubernetes: "10.0.0.1",
			err: security.ErrTierRefused, says: "LINK_ENV=production",
		},
		{name: "secret that failed to arrive", secret: "", err: security.ErrInvalid, says: "set but empty"},
		{name: "secret of 8 bytes", secret: "c2hvcnQhIQ", err: security.ErrInvalid, says: "LINK_CLUSTER_SECRET: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			devHome(t)
			for name, value := range map[string]string{
				"LINK_CLUSTER_SECRET": tc.secret, "LINK_ENV": tc.mode, "KUBERNETES_SERVICE_HOST": tc.kubernetes,
			} {
				// Setenv also restores the variable after the test.
				t.Setenv(name, strings.TrimSuffix(value, unset))
				if value == unset {
					if err := os.Unsetenv(name); err != nil {
						t.Fatal(err)
					}
				}
			}
			src, err := security.FromEnvironment(nil, "orders", "billing")
			if tc.err != nil {
				if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) || src != nil {
					t.Fatalf("got %v, %v, want %v saying %q", src, err, tc.err, tc.says)
				}
				if tc.secret != "" && strings.Contains(err.Error(), tc.secret) {
					t.Errorf("the error shows the secret: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if src.Tier() != tc.tier || src.ID().Namespace() != "billing" || src.ID().Service() != "orders" {
				t.Errorf("got %v %v, want tier %v", src.Tier(), src.ID(), tc.tier)
			}
		})
	}
}

func TestFromEnvironmentLooksUpVariables(t *testing.T) {
	devHome(t)
	t.Setenv("LINK_CLUSTER_SECRET", "")
	t.Setenv("LINK_ENV", "production")
	secret := security.NewSecret()
	src, err := security.FromEnvironment(func(name string) (string, bool) { return secret, name == "LINK_CLUSTER_SECRET" }, "orders", "")
	if err != nil || src.Tier() != security.TierClusterSecret || src.ID().Namespace() != "default" {
		t.Errorf("got %v, %v, want the tier of the secret that lookup returns", src, err)
	}
}

func TestTiersHaveNames(t *testing.T) {
	for tier, want := range map[security.Tier]string{
		security.TierDev: "dev", security.TierClusterSecret: "cluster-secret", security.TierProduction: "production", 0: "Tier(0)",
	} {
		if tier.String() != want {
			t.Errorf("tier %d is %q, want %q", tier, tier, want)
		}
	}
	if security.TierDev >= security.TierClusterSecret || security.TierClusterSecret >= security.TierProduction {
		t.Error("tiers are out of order")
	}
}
