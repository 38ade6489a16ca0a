package consul

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/internal/place"
)

// stateFormat is the format that this package writes and the only one it reads. Readers ignore
// unknown keys, so it changes only when the meaning of a known key changes.
const stateFormat = 1

// stateKey identifies the state in a file. It includes the agent, partition and Consul namespace,
// because each combination sees other instances. Namespace and Partition are those of Consul
// Enterprise.
type stateKey struct {
	_          struct{} `cbor:",toarray"`
	Agent      string
	Namespace  string
	Partition  string
	Datacenter string
	Query      string
}

// state is the content of a file: the last known instances of one service in one datacenter.
type state struct {
	Format  int          `cbor:"1,keyasint"`
	Key     stateKey     `cbor:"2,keyasint"`
	At      int64        `cbor:"3,keyasint"` // milliseconds since 1970
	Members []savedEntry `cbor:"4,keyasint"`
}

// savedEntry is a member. Service and namespace are those of the key's query. Meta lacks the
// datacenter. Started is in milliseconds since 1970, and 0 means unknown.
type savedEntry struct {
	ID         string            `cbor:"1,keyasint"`
	Addr       string            `cbor:"2,keyasint"`
	Tags       []string          `cbor:"3,keyasint,omitempty"`
	Meta       map[string]string `cbor:"4,keyasint,omitempty"`
	Weight     int               `cbor:"5,keyasint"`
	Status     uint8             `cbor:"6,keyasint,omitempty"`
	Started    int64             `cbor:"7,keyasint,omitempty"`
	Node       string            `cbor:"8,keyasint,omitempty"`
	Datacenter string            `cbor:"9,keyasint,omitempty"`
	Created    uint64            `cbor:"10,keyasint,omitempty"`
}

var errState = errors.New("not a state file of this service")

// coder encodes and decodes the files of the saver. It is safe for concurrent use.
type coder struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCoder() (coder, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return coder{}, fmt.Errorf("consul: CBOR encoder: %w", err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  5,
		MaxArrayElements: bounds.MaxInstances,
		MaxMapPairs:      2 * bounds.MaxMeta,
	}.DecMode()
	if err != nil {
		return coder{}, fmt.Errorf("consul: CBOR decoder: %w", err)
	}
	return coder{enc: enc, dec: dec}, nil
}

func (c coder) encode(key stateKey, members []member, at time.Time) ([]byte, error) {
	s := state{Format: stateFormat, Key: key, At: at.UnixMilli()}
	for _, m := range members {
		e := savedEntry{
			ID: m.ID, Addr: m.Addr, Tags: m.Tags, Weight: m.Weight, Status: uint8(m.Status),
			Node: m.node, Datacenter: m.dc, Created: m.created,
		}
		if !m.Started.IsZero() {
			e.Started = m.Started.UnixMilli()
		}
		for k, v := range m.Meta {
			if k == place.Datacenter && m.dc != "" {
				continue
			}
			if e.Meta == nil {
				e.Meta = make(map[string]string, len(m.Meta))
			}
			e.Meta[k] = v
		}
		s.Members = append(s.Members, e)
	}
	data, err := c.enc.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("consul: encode the state of %s: %w", key.Query, err)
	}
	if len(data) > maxStateFile {
		return nil, fmt.Errorf("consul: state of %s: %w: %d bytes, want at most %d", key.Query, discovery.ErrLimit, len(data), maxStateFile)
	}
	return data, nil
}

// decode returns the members, sorted and normalized. It leaves out invalid ones, because a file may
// be damaged.
func (c coder) decode(data []byte, key stateKey, q discovery.Query) (members []member, at time.Time, err error) {
	if len(data) > maxStateFile {
		return nil, time.Time{}, fmt.Errorf("%w: larger than %d bytes", errState, maxStateFile)
	}
	var s state
	if err := c.dec.Unmarshal(data, &s); err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", errState, err)
	}
	if s.Format != stateFormat || s.Key != key {
		return nil, time.Time{}, fmt.Errorf("%w: format %d, of %s", errState, s.Format, printable(s.Key.Query))
	}
	for _, e := range s.Members {
		in := discovery.Instance{
			ID: e.ID, Service: q.Service, Namespace: q.Namespace, Addr: e.Addr, Tags: e.Tags, Meta: e.Meta,
			Weight: e.Weight, Status: discovery.Status(e.Status),
		}
		if e.Started != 0 {
			in.Started = time.UnixMilli(e.Started)
		}
		if in.Validate() != nil {
			continue
		}
		in = in.Normalized()
		if e.Datacenter != "" {
			if in.Meta == nil {
				in.Meta = make(map[string]string, 1)
			}
			in.Meta[place.Datacenter] = e.Datacenter
		}
		members = append(members, member{Instance: in, node: e.Node, dc: e.Datacenter, created: e.Created})
	}
	slices.SortFunc(members, compareMembers)
	members = slices.CompactFunc(members, func(a, b member) bool { return compareMembers(a, b) == 0 })
	return members, time.UnixMilli(s.At), nil
}
