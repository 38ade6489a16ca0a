package consul

import (
	"fmt"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

const (
	// policyMaxAge is the maximum age of a saved policy. It is longer than stateMaxAge because people
	// change policies manually, and because losing one that forbids or redirects calls is worse than
	// following an old one, which is marked stale.
	policyMaxAge = 90 * 24 * time.Hour

	policySuffix = ".policy"

	// maxPolicyFile leaves 16 KiB for the fields besides the document.
	maxPolicyFile = bounds.MaxPolicy + 16<<10
)

// policyState is the content of a file: the last known document about one service, or the fact that
// there was none.
type policyState struct {
	Format   int      `cbor:"1,keyasint"`
	Key      stateKey `cbor:"2,keyasint"`
	At       int64    `cbor:"3,keyasint"` // milliseconds since 1970
	Document []byte   `cbor:"4,keyasint"`

	// None means that there is no document, as opposed to an empty one.
	None bool `cbor:"5,keyasint"`
}

func (c coder) encodePolicy(key stateKey, document []byte, at time.Time) ([]byte, error) {
	data, err := c.enc.Marshal(policyState{
		Format: stateFormat, Key: key, At: at.UnixMilli(), Document: document, None: document == nil,
	})
	if err != nil {
		return nil, fmt.Errorf("consul: encode the policy of %s: %w", key.Query, err)
	}
	if len(data) > maxPolicyFile {
		return nil, fmt.Errorf("consul: policy of %s: %w: %d bytes, want at most %d", key.Query, discovery.ErrLimit, len(data), maxPolicyFile)
	}
	return data, nil
}

// decodePolicy returns the document, or nil if there was none.
func (c coder) decodePolicy(data []byte, key stateKey) (document []byte, at time.Time, err error) {
	if len(data) > maxPolicyFile {
		return nil, time.Time{}, fmt.Errorf("%w: larger than %d bytes", errState, maxPolicyFile)
	}
	var s policyState
	if err := c.dec.Unmarshal(data, &s); err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", errState, err)
	}
	switch {
	case s.Format != stateFormat || s.Key != key:
		return nil, time.Time{}, fmt.Errorf("%w: format %d, of %s", errState, s.Format, printable(s.Key.Query))
	case s.None != (s.Document == nil), len(s.Document) > bounds.MaxPolicy:
		return nil, time.Time{}, fmt.Errorf("%w: no document, or too large a one", errState)
	}
	return s.Document, time.UnixMilli(s.At), nil
}

func (s *saver) policyPath(key stateKey) string { return s.stem(key) + policySuffix }

// putPolicy schedules a document to be written. The document must not be modified afterwards. nil
// means that there is none.
func (s *saver) putPolicy(key stateKey, document []byte, at time.Time) {
	if s == nil {
		return
	}
	s.enqueue(s.policyPath(key), dirtyFile{
		key: key, encode: func() ([]byte, error) { return s.coder.encodePolicy(key, document, at) },
	})
}

// loadPolicy returns the document kept from an earlier run. ok is false if nothing is kept. Like
// load, it reads a file.
func (s *saver) loadPolicy(key stateKey, now time.Time) (document []byte, at time.Time, ok bool) {
	if s == nil {
		return nil, time.Time{}, false
	}
	path := s.policyPath(key)
	data, err := s.read(path, maxPolicyFile)
	if err == nil {
		document, at, err = s.coder.decodePolicy(data, key)
	}
	if !s.usable(path, key, at, policyMaxAge, now, err) {
		return nil, time.Time{}, false
	}
	return document, at, true
}
