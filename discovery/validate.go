package discovery

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/linkmesh/link/internal/bounds"
)

// Validate checks every field against the rules that its comment in Instance gives. The error is a
// *FieldError that wraps ErrInvalidInstance and names the first wrong field and its value.
func (in Instance) Validate() error {
	bad := func(field, value, reason string) error {
		return &FieldError{Kind: ErrInvalidInstance, Field: field, Value: value, Reason: reason}
	}
	if reason := checkWord(in.Service, bounds.MaxName); reason != "" {
		return bad("Service", in.Service, reason)
	}
	if in.Namespace != "" {
		if reason := checkWord(in.Namespace, bounds.MaxName); reason != "" {
			return bad("Namespace", in.Namespace, reason)
		}
	}
	if reason := checkAddr(in.Addr); reason != "" {
		return bad("Addr", in.Addr, reason)
	}
	// An ID is usually derived from the fields above. Check it after them, so that the error names the
	// cause.
	if reason := checkWord(in.ID, bounds.MaxID); reason != "" {
		return bad("ID", in.ID, reason)
	}
	if len(in.Tags) > bounds.MaxTags {
		return bad("Tags", strconv.Itoa(len(in.Tags))+" tags", "want at most "+strconv.Itoa(bounds.MaxTags))
	}
	for i, tag := range in.Tags {
		if reason := checkTag(tag); reason != "" {
			return bad("Tags["+strconv.Itoa(i)+"]", tag, reason)
		}
	}
	if len(in.Meta) > bounds.MaxMeta {
		return bad("Meta", strconv.Itoa(len(in.Meta))+" pairs", "want at most "+strconv.Itoa(bounds.MaxMeta))
	}
	for key, value := range in.Meta {
		if reason := checkMetaKey(key); reason != "" {
			return bad("Meta key", key, reason)
		}
		if reason := checkText(value, bounds.MaxMetaValue); reason != "" {
			return bad("Meta["+quote(key)+"]", value, reason)
		}
	}
	if in.Weight < 0 || in.Weight > bounds.MaxWeight {
		return bad("Weight", strconv.Itoa(in.Weight), "want 0 (the default) to "+strconv.Itoa(bounds.MaxWeight))
	}
	if in.Status > Draining {
		return bad("Status", strconv.Itoa(int(in.Status)), "want Serving or Draining")
	}
	if y := in.Started.UTC().Year(); !in.Started.IsZero() && (y < 1970 || y > 9999) {
		return bad("Started", in.Started.Format(time.RFC3339), "want the zero time or a year from 1970 to 9999")
	}
	return nil
}

// Validate checks the names of q. The error is a *FieldError that wraps ErrInvalidQuery.
func (q Query) Validate() error {
	if reason := checkWord(q.Service, bounds.MaxName); reason != "" {
		return &FieldError{Kind: ErrInvalidQuery, Field: "Service", Value: q.Service, Reason: reason}
	}
	return q.ValidateNamespace()
}

// ValidateNamespace checks the namespace alone, for implementers of Lister. An empty one is valid: it
// is DefaultNamespace. The error is a *FieldError that wraps ErrInvalidQuery.
func (q Query) ValidateNamespace() error {
	if q.Namespace != "" {
		if reason := checkWord(q.Namespace, bounds.MaxName); reason != "" {
			return &FieldError{Kind: ErrInvalidQuery, Field: "Namespace", Value: q.Namespace, Reason: reason}
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// checkWord restricts IDs and names to the characters of a SPIFFE path segment. They must begin and
// end with a letter or digit, which makes them safe as file names, host labels and parts of a URL.
func checkWord(s string, limit int) string {
	if s == "" {
		return "must not be empty"
	}
	if len(s) > limit {
		return "want at most " + strconv.Itoa(limit) + " bytes, has " + strconv.Itoa(len(s))
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return "want only letters, digits and ._-"
		}
	}
	if !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return "must begin and end with a letter or digit"
	}
	return ""
}

func checkAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return `want "host:port", IPv6 addresses in brackets`
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !alphanumeric(port[0]) {
		return "want a port from 1 to 65535"
	}
	if host == "" {
		return "want a host that others can dial before the colon"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return checkIP(ip)
	}
	return checkHost(host)
}

// checkIP rejects addresses that a unicast peer cannot have. The unspecified address is a common
// mistake: a listener binds to it, but nobody can dial it.
func checkIP(ip netip.Addr) string {
	ip = ip.Unmap()
	switch {
	case ip.IsUnspecified():
		return "is the address to listen on every interface; want one that others can dial"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is a multicast or broadcast address; want one that a single instance answers"
	case len(ip.Zone()) > bounds.MaxName || strings.ContainsFunc(ip.Zone(), unprintable):
		return "has a malformed IPv6 zone"
	}
	return ""
}

func checkHost(host string) string {
	if len(host) > bounds.MaxHost {
		return "want a host name of at most " + strconv.Itoa(bounds.MaxHost) + " bytes"
	}
	for i := range len(host) {
		if c := host[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return "want an IP address or a host name of letters, digits and ._-"
		}
	}
	if !alphanumeric(host[0]) {
		return "want a host name that begins with a letter or digit"
	}
	return ""
}

func checkTag(tag string) string {
	if tag == "" {
		return "must not be empty"
	}
	if strings.Contains(tag, " ") {
		return "must not contain spaces"
	}
	return checkText(tag, bounds.MaxTag)
}

func checkMetaKey(key string) string {
	if key == "" {
		return "must not be empty"
	}
	if len(key) > bounds.MaxMetaKey {
		return "want at most " + strconv.Itoa(bounds.MaxMetaKey) + " bytes, has " + strconv.Itoa(len(key))
	}
	for i := range len(key) {
		if c := key[i]; !alphanumeric(c) && c != '_' && c != '-' {
			return "want only letters, digits, _ and -"
		}
	}
	return ""
}

// checkText rejects text that could forge log lines or hide in a terminal: control and format
// characters, line breaks, invalid UTF-8.
func checkText(s string, limit int) string {
	if len(s) > limit {
		return "want at most " + strconv.Itoa(limit) + " bytes, has " + strconv.Itoa(len(s))
	}
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	if strings.ContainsFunc(s, unprintable) {
		return "has a character that is not printable"
	}
	return ""
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// ValidateUpdate returns an error unless in has the ID, service and namespace that were registered as
// id and q. It checks nothing else; see Validate. It is for implementers of Registration. The error is
// a *FieldError that wraps ErrInvalidInstance.
func (in Instance) ValidateUpdate(id string, q Query) error {
	was, is := q.Normalized(), in.Query()
	for _, f := range []struct{ field, was, is string }{
		{"ID", id, in.ID},
		{"Service", was.Service, is.Service},
		{"Namespace", was.Namespace, is.Namespace},
	} {
		if f.was != f.is {
			return &FieldError{
				Kind: ErrInvalidInstance, Field: f.field, Value: f.is,
				Reason: "must stay " + quote(f.was) + "; close this registration and register anew",
			}
		}
	}
	return nil
}
