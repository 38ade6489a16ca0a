package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/linkmesh/link/discovery"
)

// ErrSyntax says that the text given to Parse is malformed; the message names the piece.
var ErrSyntax = errors.New("static: malformed list of peers")

// MaxText bounds the text that Parse takes, in bytes.
const MaxText = 1 << 20

// Parse reads a list of peers, as the LINK_PEERS variable or a file holds it:
//
//	orders=10.0.0.5:7443,10.0.0.6:7443;users=users.internal:7443
//
// Entries are separated by semicolons or line breaks. Each is a service, "=", and the addresses of
// its instances, separated by commas. A service of another namespace is written
// "namespace/service". White space around names, addresses and entries is ignored, and so are
// empty entries. Anything else is an ErrSyntax that names the piece: a service twice, an address
// twice, an empty address, an address that is not host:port.
//
// The instances come in the order of the text, with stable IDs.
func Parse(text string) ([]discovery.Instance, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%w: %d bytes, want at most %d", ErrSyntax, len(text), MaxText)
	}
	var instances []discovery.Instance
	seen := make(map[discovery.Query]struct{})
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		q, addrs, err := parseEntry(entry)
		if err != nil {
			return nil, err
		}
		if _, ok := seen[q]; ok {
			return nil, fmt.Errorf("%w: entry %s: %s is listed before; put all addresses into one entry",
				ErrSyntax, clip(entry), q)
		}
		seen[q] = struct{}{}
		for _, addr := range addrs {
			in := discovery.Instance{Service: q.Service, Namespace: q.Namespace, Addr: addr}.Normalized()
			in.ID = stableID(in)
			if err := in.Validate(); err != nil {
				return nil, fmt.Errorf("%w: entry %s: %w", ErrSyntax, clip(entry), err)
			}
			instances = append(instances, in)
		}
	}
	return instances, nil
}

func parseEntry(entry string) (discovery.Query, []string, error) {
	name, list, ok := strings.Cut(entry, "=")
	if !ok {
		return discovery.Query{}, nil, fmt.Errorf("%w: entry %s: want service=host:port,host:port", ErrSyntax, clip(entry))
	}
	q := discovery.Query{Service: strings.TrimSpace(name)}
	if namespace, service, ok := strings.Cut(q.Service, "/"); ok {
		q.Namespace, q.Service = strings.TrimSpace(namespace), strings.TrimSpace(service)
		if q.Namespace == "" {
			return q, nil, fmt.Errorf("%w: entry %s: empty namespace before the slash", ErrSyntax, clip(entry))
		}
	}
	if err := q.Validate(); err != nil {
		return q, nil, fmt.Errorf("%w: entry %s: %w", ErrSyntax, clip(entry), err)
	}
	addrs := strings.Split(list, ",")
	if len(addrs) > discovery.MaxInstances {
		return q, nil, fmt.Errorf("%w: entry %s: %w: %d addresses, want at most %d",
			ErrSyntax, clip(entry), discovery.ErrLimit, len(addrs), discovery.MaxInstances)
	}
	seen := make(map[string]struct{}, len(addrs))
	for i, addr := range addrs {
		addr = strings.TrimSpace(addr)
		if addr == "" {
			return q, nil, fmt.Errorf("%w: entry %s: address %d is empty", ErrSyntax, clip(entry), i+1)
		}
		if _, ok := seen[addr]; ok {
			return q, nil, fmt.Errorf("%w: entry %s: address %s is listed twice", ErrSyntax, clip(entry), clip(addr))
		}
		seen[addr] = struct{}{}
		addrs[i] = addr
	}
	return q.Normalized(), addrs, nil
}

// stableID names an instance that came without an ID after what it is: service, the host as far
// as an ID can hold it, and a hash over all of it that tells equal looks apart.
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

// clip quotes a piece of foreign text for an error message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.QuoteToASCII(s[:limit]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
