package security_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/mtls/mtlstest"
	"github.com/linkmesh/link/security"
)

func TestNewIDReadsBack(t *testing.T) {
	longest := strings.Repeat("a", 63)
	for _, tc := range []struct{ trustDomain, namespace, service string }{
		{"cluster.link", "default", "orders"},
		{"a", "b", "c"},
		{"1.2-3.x", "Team_A", "orders.v2"},
		// The trust domain has 255 bytes.
		{strings.Join([]string{longest, longest, longest, longest}, "."), "n", "s"},
	} {
		id, err := security.NewID(tc.trustDomain, tc.namespace, tc.service)
		if err != nil {
			t.Errorf("NewID(%q, %q, %q): %v", tc.trustDomain, tc.namespace, tc.service, err)
			continue
		}
		if domain := id.TrustDomain(); id.Advisory() != (domain == security.ClusterTrustDomain) {
			t.Errorf("an identity of %s is advisory: %t", domain, id.Advisory())
		}
		if id.TrustDomain() != tc.trustDomain || id.Namespace() != tc.namespace || id.Service() != tc.service {
			t.Errorf("NewID(%q, %q, %q) reads back as %q, %q, %q", tc.trustDomain, tc.namespace, tc.service,
				id.TrustDomain(), id.Namespace(), id.Service())
		}
		if want := "spiffe://" + tc.trustDomain + "/ns/" + tc.namespace + "/svc/" + tc.service; id.String() != want {
			t.Errorf("String() = %q, want %q", id.String(), want)
		}
		if again := mtlstest.MustID(t, id.String()); again != id {
			t.Errorf("ParseID(%q) is another ID", id)
		}
	}
}

func TestNewIDRefuses(t *testing.T) {
	for _, tc := range []struct{ trustDomain, namespace, service, part string }{
		{"", "n", "s", "trust domain"},
		{"Mesh.link", "n", "s", "trust domain"},
		{".mesh", "n", "s", "trust domain"},
		{"mesh.", "n", "s", "trust domain"},
		{"a..b", "n", "s", "trust domain"},
		{"-mesh", "n", "s", "trust domain"},
		{"mesh-.link", "n", "s", "trust domain"},
		{"mesh_link", "n", "s", "trust domain"},
		{"mesh:1", "n", "s", "trust domain"},
		// The second letter is Cyrillic.
		{"mеsh", "n", "s", "trust domain"},
		{strings.Repeat("a", 64), "n", "s", "trust domain"},
		// This trust domain has 256 bytes.
		{strings.Repeat("a.", 127) + "aa", "n", "s", "trust domain"},
		{"m", "", "s", "namespace"},
		{"m", ".", "s", "namespace"},
		{"m", "..", "s", "namespace"},
		{"m", "a/b", "s", "namespace"},
		{"m", "n", "", "service"},
		{"m", "n", "..", "service"},
		{"m", "n", "-orders", "service"},
		{"m", "n", "_orders", "service"},
		{"m", "n", "ord%65rs", "service"},
		{"m", "n", "orders\x00", "service"},
		{"m", "n", "orders\n", "service"},
		{"m", "n", "órders", "service"},
		{"m", "n", strings.Repeat("s", 2049), "service"},
		{"m", "n", strings.Repeat("s", 2040), "bytes long"},
	} {
		id, err := security.NewID(tc.trustDomain, tc.namespace, tc.service)
		if !errors.Is(err, security.ErrInvalid) || !strings.HasPrefix(err.Error(), "security: invalid SPIFFE ID: ") || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("NewID(%.40q, %.40q, %.40q) = %v, want ErrInvalid about %q", tc.trustDomain, tc.namespace, tc.service, err, tc.part)
		}
		if !id.IsZero() {
			t.Errorf("NewID(%.40q, %.40q, %.40q) failed but returned %.80q", tc.trustDomain, tc.namespace, tc.service, id)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("error of %d bytes for %.40q", len(err.Error()), tc.service)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, uri := range append(mtlstest.MalformedURIs(), "spiffe://m/ns/n/svc/"+strings.Repeat("s", 2048)) {
		if id, err := security.ParseID(uri); !errors.Is(err, security.ErrInvalid) || !id.IsZero() {
			t.Errorf("ParseID(%.80q) = %q, %v, want the zero ID and ErrInvalid", uri, id, err)
		}
	}
}

func TestZeroIDBelongsToNobody(t *testing.T) {
	var id security.ID
	if !id.IsZero() || id.String() != "" || id.TrustDomain() != "" || id.Namespace() != "" || id.Service() != "" {
		t.Errorf("the zero ID has parts: %q", id)
	}
	if mtlstest.MustID(t, "spiffe://m/ns/n/svc/s").IsZero() {
		t.Error("a parsed ID is zero")
	}
}

func TestIDShowsInJSON(t *testing.T) {
	text, err := json.Marshal(mtlstest.MustID(t, "spiffe://m/ns/n/svc/s"))
	if err != nil || string(text) != `"spiffe://m/ns/n/svc/s"` {
		t.Errorf("JSON is %s, %v", text, err)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://mesh.test/ns/default/svc/orders")
	f.Add("spiffe://a-1.b/ns/A_b.c/svc/0-9")
	for _, uri := range mtlstest.MalformedURIs() {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := security.ParseID(uri)
		if err != nil {
			if !id.IsZero() || !errors.Is(err, security.ErrInvalid) {
				t.Fatalf("ParseID(%q) = %q, %v", uri, id, err)
			}
			return
		}
		if id.String() != uri {
			t.Fatalf("ParseID(%q) prints as %q", uri, id)
		}
		rebuilt, err := security.NewID(id.TrustDomain(), id.Namespace(), id.Service())
		if err != nil || rebuilt != id {
			t.Fatalf("NewID of the parts of %q = %q, %v", id, rebuilt, err)
		}
		if !mtlstest.LooksLikeID(uri) {
			t.Fatalf("ParseID took %q", uri)
		}
	})
}
