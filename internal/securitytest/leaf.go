package securitytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

// A Leaf describes a leaf certificate to be made. All of it may be changed.
type Leaf struct {
	// URIs are the URI names, written unchanged and in this order. If it is nil, there are no subject alternative
	// names unless Template has some.
	URIs []string
	// DNSNames are written after the URIs, unless URIs is nil.
	DNSNames []string
	// Key is the leaf's key pair.
	Key crypto.Signer
	// Template is everything else, as for x509.CreateCertificate.
	Template x509.Certificate
}

type mutation func(tb testing.TB, leaf *Leaf)

func mutating(m mutation) Option {
	return option(func(p *plan) { p.mutations = append(p.mutations, m) })
}

// MutateLeaf lets mutate change the leaf in any way.
func MutateLeaf(mutate func(leaf *Leaf)) Option {
	return mutating(func(_ testing.TB, leaf *Leaf) { mutate(leaf) })
}

// Expired makes a leaf that expired an hour ago.
func Expired() Option {
	return MutateLeaf(func(leaf *Leaf) {
		leaf.Template.NotBefore = time.Now().Add(-25 * time.Hour)
		leaf.Template.NotAfter = time.Now().Add(-time.Hour)
	})
}

// NotYetValid makes a leaf that becomes valid in an hour.
func NotYetValid() Option {
	return MutateLeaf(func(leaf *Leaf) { leaf.Template.NotBefore = time.Now().Add(time.Hour) })
}

// Naming makes a leaf for a service other than the source's, in the same trust domain and the default namespace.
func Naming(service string) Option {
	return mutating(func(tb testing.TB, leaf *Leaf) {
		tb.Helper()
		own, err := security.ParseID(leaf.URIs[0])
		if err != nil {
			tb.Fatalf("securitytest: Naming: %v", err)
		}
		id, err := security.NewID(own.TrustDomain(), discovery.DefaultNamespace, service)
		if err != nil {
			tb.Fatalf("securitytest: Naming: %v", err)
		}
		leaf.URIs = []string{id.String()}
	})
}

// WithURIs makes a leaf with exactly these URI names, written unchanged. Without arguments the leaf has no names.
func WithURIs(uris ...string) Option {
	return MutateLeaf(func(leaf *Leaf) { leaf.URIs = uris })
}

// OnlyDNSName makes a leaf with name as DNS name and common name, and no URI.
func OnlyDNSName(name string) Option {
	return MutateLeaf(func(leaf *Leaf) {
		leaf.URIs = nil
		leaf.Template.DNSNames = []string{name}
		leaf.Template.Subject = pkix.Name{CommonName: name}
	})
}

// AsCA makes a leaf that is also a CA certificate.
func AsCA() Option {
	return MutateLeaf(func(leaf *Leaf) { leaf.Template.IsCA = true })
}

// WithKeyUsage makes a leaf with this key usage.
func WithKeyUsage(usage x509.KeyUsage) Option {
	return MutateLeaf(func(leaf *Leaf) { leaf.Template.KeyUsage = usage })
}

// WithExtKeyUsage makes a leaf with exactly this extended key usage, such as x509.ExtKeyUsageClientAuth only.
func WithExtKeyUsage(usage ...x509.ExtKeyUsage) Option {
	return MutateLeaf(func(leaf *Leaf) { leaf.Template.ExtKeyUsage = usage })
}

// WeakRSA makes a leaf with an RSA key of 1024 bits.
func WeakRSA() Option {
	return mutating(func(tb testing.TB, leaf *Leaf) {
		tb.Helper()
		key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // weak on purpose
		if err != nil {
			tb.Fatalf("securitytest: making a weak key: %v", err)
		}
		leaf.Key = key
	})
}

// SelfSigned makes a leaf that is signed with its own key.
func SelfSigned() Option {
	return option(func(p *plan) {
		p.mutations = append(p.mutations, func(_ testing.TB, leaf *Leaf) {
			p.issuer = &authority{cert: &leaf.Template, key: leaf.Key}
		})
	})
}

// subjectAltName encodes the names unchanged; crypto/x509 would normalize them.
func subjectAltName(tb testing.TB, leaf *Leaf) pkix.Extension {
	tb.Helper()
	// tagDNS and tagURI are tags of GeneralName (RFC 5280, section 4.2.1.6).
	const tagDNS, tagURI = 2, 6
	var names []asn1.RawValue
	for _, uri := range leaf.URIs {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(uri)})
	}
	for _, name := range leaf.DNSNames {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDNS, Bytes: []byte(name)})
	}
	value, err := asn1.Marshal(names)
	if err != nil {
		tb.Fatalf("securitytest: writing names: %v", err)
	}
	return pkix.Extension{
		Id:       asn1.ObjectIdentifier{2, 5, 29, 17},
		Critical: len(leaf.Template.Subject.Names) == 0 && leaf.Template.Subject.CommonName == "",
		Value:    value,
	}
}
