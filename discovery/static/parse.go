package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/errtext"
	"github.com/linkmesh/link/internal/bounds"
)

// errSyntax is wrapped by the errors of Parse. They also quote the wrong part of the text.
var errSyntax = errtext.New("static: malformed list of peers", discovery.ErrInvalidConfig)

// maxText is the maximum length of the text that Parse accepts, in bytes.
const maxText = 1 << 20

// Parse reads a list of peers from the LINK_PEERS variable or a file:
//
//	orders=10.0.0.5:7443[v2,zone=eu-1a],10.0.0.6:7443;users=users.internal:7443
//
// Entries are separated by semicolons or line breaks. Each is a service, "=", and the addresses of
// its instances, separated by commas. A service of another namespace is written
// "namespace/service". An address may be followed by the instance's tags in brackets, separated by
// commas. A tag cannot contain a comma, a semicolon or a bracket. The tags of an instance without
// brackets are unknown, and a node asks the instance for them.
// White space around names, addresses, tags and entries is ignored, and so are empty entries.
// Anything else is an error that matches discovery.ErrInvalidConfig and quotes the wrong part: a
// duplicate service, a duplicate address, an empty address or tag, an address that is not host:port,
// tags of two zones. More than 16,384 addresses of one service match discovery.ErrLimit, too.
//
// The instances are in the order of the text, with stable IDs. The text has at most 1 MiB.
func Parse(text string) ([]discovery.Instance, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%w: %d bytes, want at most %d", errSyntax, len(text), maxText)
	}
	var instances []discovery.Instance
	seen := make(map[discovery.Query]struct{})
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		q, places, err := parseEntry(entry)
		if err != nil {
			return nil, err
		}
		if _, ok := seen[q]; ok {
			return nil, fmt.Errorf("%w: entry %s: %s is listed twice; put all addresses into one entry",
				errSyntax, clip(entry), q)
		}
		seen[q] = struct{}{}
		for _, p := range places {
			in := discovery.Instance{Service: q.Service, Namespace: q.Namespace, Addr: p.addr, Tags: p.tags, TagsUnknown: len(p.tags) == 0}.Normalized()
			in.ID = stableID(in)
			if err := errors.Join(in.Validate(), in.ValidatePlace()); err != nil {
				return nil, fmt.Errorf("%w: entry %s: %w", errSyntax, clip(entry), err)
			}
			instances = append(instances, in)
		}
	}
	return instances, nil
}

// place is one instance of an entry. Its tags are unknown if there are none.
type place struct {
	addr string
	tags []string
}

func parseEntry(entry string) (discovery.Query, []place, error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: entry %s: "+format, append([]any{errSyntax, clip(entry)}, args...)...)
	}
	name, list, ok := strings.Cut(entry, "=")
	if !ok {
		return discovery.Query{}, nil, wrong("want service=host:port,host:port")
	}
	q := discovery.Query{Service: strings.TrimSpace(name)}
	if namespace, service, ok := strings.Cut(q.Service, "/"); ok {
		q.Namespace, q.Service = strings.TrimSpace(namespace), strings.TrimSpace(service)
		if q.Namespace == "" {
			return q, nil, wrong("empty namespace before the slash")
		}
	}
	if err := q.Validate(); err != nil {
		return q, nil, wrong("%w", err)
	}
	pieces := splitPlaces(list)
	if len(pieces) > bounds.MaxInstances {
		return q, nil, wrong("%w: %d addresses, want at most %d", discovery.ErrLimit, len(pieces), bounds.MaxInstances)
	}
	places := make([]place, len(pieces))
	seen := make(map[string]struct{}, len(pieces))
	for i, piece := range pieces {
		p, problem := parsePlace(piece)
		switch {
		case problem != "":
			return q, nil, wrong("%s: %s", clip(piece), problem)
		case p.addr == "":
			return q, nil, wrong("address %d is empty", i+1)
		}
		if _, ok := seen[p.addr]; ok {
			return q, nil, wrong("address %s is listed twice", clip(p.addr))
		}
		seen[p.addr] = struct{}{}
		places[i] = p
	}
	return q.Normalized(), places, nil
}

// splitPlaces splits a list at the commas that are not between brackets.
func splitPlaces(list string) []string {
	var pieces []string
	depth, start := 0, 0
	for i := range len(list) {
		switch list[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ',':
			if depth <= 0 {
				pieces, start = append(pieces, strings.TrimSpace(list[start:i])), i+1
			}
		}
	}
	return append(pieces, strings.TrimSpace(list[start:]))
}

// parsePlace reads "host:port" or "host:port[tag,tag]"; the host may be an IPv6 address in brackets.
func parsePlace(piece string) (p place, problem string) {
	open := strings.LastIndexByte(piece, '[')
	// A bracket at the beginning belongs to an IPv6 address.
	if open <= 0 {
		return place{addr: piece}, ""
	}
	text, ok := strings.CutSuffix(piece[open+1:], "]")
	if !ok || strings.Contains(text, "]") {
		return p, "want the tags between brackets, as in 10.0.0.5:7443[v2,zone=eu-1a]"
	}
	p.addr = strings.TrimSpace(piece[:open])
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag == "" {
			return p, "a tag is empty"
		}
		p.tags = append(p.tags, tag)
	}
	return p, ""
}

// stableID returns the ID of an instance that was given without one: the service, the address as far
// as an ID can hold it, and a hash over namespace, service and address that makes it unique.
func stableID(in discovery.Instance) string {
	const hashLen, hostLen = 12, 40
	sum := sha256.Sum256([]byte(in.Query().String() + "=" + in.Addr))
	host := strings.Map(func(r rune) rune {
		switch {
		case '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', r == '.', r == '-':
			return r
		default:
			return '_'
		}
	}, in.Addr)
	if len(host) > hostLen {
		host = host[:hostLen]
	}
	return in.Service + "-" + host + "-" + hex.EncodeToString(sum[:])[:hashLen]
}

// clip quotes and shortens untrusted text for an error message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.QuoteToASCII(s[:limit]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
