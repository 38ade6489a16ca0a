package security

import (
	"fmt"
	"strings"

	"github.com/linkmesh/link/internal/certrules"
)

const (
	// maxTrustDomainBytes is the maximum length of a trust domain (SPIFFE ID specification, section 2.3).
	maxTrustDomainBytes = 255
	// maxIDBytes is the maximum length of a SPIFFE ID as a URI (SPIFFE ID specification, section 2.3).
	maxIDBytes = 2048

	// maxLabelBytes is the maximum length of one dot-separated part of a trust domain (RFC 1035, section 2.3.4).
	maxLabelBytes = 63

	idScheme    = "spiffe://"
	idNamespace = "/ns/"
	idService   = "/svc/"
)

// errBadID is wrapped by the errors of NewID and ParseID.
var errBadID = fmt.Errorf("%w SPIFFE ID", ErrInvalid)

// An ID is the identity of a service: spiffe://<trust domain>/ns/<namespace>/svc/<service>.
//
// It has at most 2048 bytes as a URI. A trust domain consists of lower-case letters, digits, dots and hyphens, and has
// the form of a DNS name, of at most 255 bytes. Namespace
// and service consist of ASCII letters, digits, dots, hyphens and underscores and begin with a letter or a digit; they
// are case-sensitive, as in SPIFFE.
//
// IDs are values: they can be compared with == and used as map keys, and two are equal exactly when their URIs are
// equal byte for byte. The zero ID is invalid; no service has it.
type ID struct {
	uri string

	// domainEnd and namespEnd are the ends of trust domain and namespace in uri.
	domainEnd, namespEnd uint16
}

// NewID returns the ID of a service. Errors match ErrInvalid and name the invalid part.
func NewID(trustDomain, namespace, service string) (ID, error) {
	if problem := checkTrustDomain(trustDomain); problem != "" {
		return ID{}, fmt.Errorf("%w: trust domain %s %s", errBadID, certrules.Quote(trustDomain), problem)
	}
	if problem := checkSegment(namespace); problem != "" {
		return ID{}, fmt.Errorf("%w: namespace %s %s", errBadID, certrules.Quote(namespace), problem)
	}
	if problem := checkSegment(service); problem != "" {
		return ID{}, fmt.Errorf("%w: service %s %s", errBadID, certrules.Quote(service), problem)
	}
	uri := idScheme + trustDomain + idNamespace + namespace + idService + service
	if len(uri) > maxIDBytes {
		return ID{}, fmt.Errorf("%w: %d bytes long, at most %d allowed", errBadID, len(uri), maxIDBytes)
	}
	domainEnd := len(idScheme) + len(trustDomain)
	return ID{
		uri:       uri,
		domainEnd: uint16(domainEnd),
		namespEnd: uint16(domainEnd + len(idNamespace) + len(namespace)),
	}, nil
}

// ParseID reads an ID from its URI. It accepts exactly the output of String: no upper-case scheme or trust domain, no
// percent encoding, port, user, query, fragment or trailing slash. Errors match ErrInvalid.
func ParseID(uri string) (ID, error) {
	if len(uri) > maxIDBytes {
		return ID{}, fmt.Errorf("%w: %d bytes long, at most %d allowed", errBadID, len(uri), maxIDBytes)
	}
	rest, ok := strings.CutPrefix(uri, idScheme)
	if !ok {
		return ID{}, fmt.Errorf("%w: %s does not begin with %s", errBadID, certrules.Quote(uri), idScheme)
	}
	trustDomain, path, _ := strings.Cut(rest, "/")
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[0] != "ns" || parts[2] != "svc" {
		return ID{}, fmt.Errorf("%w: %s is not spiffe://<trust domain>/ns/<namespace>/svc/<service>", errBadID, certrules.Quote(uri))
	}
	return NewID(trustDomain, parts[1], parts[3])
}

// String returns the URI, or "" for the zero ID.
func (id ID) String() string { return id.uri }

// Advisory reports whether the name in an ID proves nothing by itself: it is in the trust domain of TierDev or of
// TierClusterSecret, in which every member can take any name.
func (id ID) Advisory() bool {
	domain := id.TrustDomain()
	return domain == devTrustDomain || domain == clusterTrustDomain
}

// TrustDomain returns the name of the trust domain, or "" for the zero ID.
func (id ID) TrustDomain() string {
	if id.IsZero() {
		return ""
	}
	return id.uri[len(idScheme):id.domainEnd]
}

// Namespace returns the namespace of the service, or "" for the zero ID.
func (id ID) Namespace() string {
	if id.IsZero() {
		return ""
	}
	return id.uri[int(id.domainEnd)+len(idNamespace) : id.namespEnd]
}

// Service returns the name of the service, or "" for the zero ID.
func (id ID) Service() string {
	if id.IsZero() {
		return ""
	}
	return id.uri[int(id.namespEnd)+len(idService):]
}

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id.uri == "" }

// MarshalText returns the URI, for logs and JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.uri), nil }

// checkTrustDomain says why a trust domain is invalid, or returns "".
func checkTrustDomain(td string) string {
	if td == "" {
		return "is empty"
	}
	if len(td) > maxTrustDomainBytes {
		return fmt.Sprintf("is longer than %d bytes", maxTrustDomainBytes)
	}
	for label := range strings.SplitSeq(td, ".") {
		switch {
		case label == "":
			return "has an empty part between dots"
		case len(label) > maxLabelBytes:
			return fmt.Sprintf("has a part longer than %d bytes", maxLabelBytes)
		case label[0] == '-' || label[len(label)-1] == '-':
			return "has a part that begins or ends with a hyphen"
		}
		for i := range len(label) {
			if c := label[i]; !isLowerOrDigit(c) && c != '-' {
				return "may hold only a-z, 0-9, dot and hyphen"
			}
		}
	}
	return ""
}

// checkSegment says why a namespace or service is invalid, or returns "".
func checkSegment(s string) string {
	if s == "" {
		return "is empty"
	}
	if len(s) > maxIDBytes {
		return fmt.Sprintf("is longer than %d bytes", maxIDBytes)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case isLowerOrDigit(c), 'A' <= c && c <= 'Z':
		case c != '.' && c != '-' && c != '_':
			return "may hold only letters, digits, dot, hyphen and underscore"
		case i == 0:
			return "must begin with a letter or a digit"
		}
	}
	return ""
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
