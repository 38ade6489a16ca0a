package local

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

const (
	suffix = ".cbor"

	// recordFormat is the format that this package writes and the only one it reads. Readers ignore
	// unknown keys, so it changes only when the meaning of a known key changes.
	recordFormat = 1
)

// errFormat means that this version of link does not know the format of a record.
var errFormat = errors.New("unknown format")

// record is an instance on disk: a CBOR map with small integer keys, which must not be renumbered.
type record struct {
	Format    int               `cbor:"1,keyasint"`
	ID        string            `cbor:"2,keyasint"`
	Service   string            `cbor:"3,keyasint"`
	Namespace string            `cbor:"4,keyasint"`
	Addr      string            `cbor:"5,keyasint"`
	Tags      []string          `cbor:"6,keyasint,omitempty"`
	Meta      map[string]string `cbor:"7,keyasint,omitempty"`
	Weight    int               `cbor:"8,keyasint"`
	Status    uint8             `cbor:"9,keyasint,omitempty"`
	Started   int64             `cbor:"10,keyasint,omitempty"` // milliseconds since 1970; 0 is unknown
}

// coder encodes instances to file contents and decodes them. It is safe for concurrent use.
type coder struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCoder() (coder, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return coder{}, fmt.Errorf("local: CBOR encoder: %w", err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  4,
		MaxArrayElements: 2 * bounds.MaxTags,
		MaxMapPairs:      2 * bounds.MaxMeta,
	}.DecMode()
	if err != nil {
		return coder{}, fmt.Errorf("local: CBOR decoder: %w", err)
	}
	return coder{enc: enc, dec: dec}, nil
}

// encode returns the file contents for in, which must be valid and normalized.
func (c coder) encode(in discovery.Instance) ([]byte, error) {
	rec := record{
		Format:    recordFormat,
		ID:        in.ID,
		Service:   in.Service,
		Namespace: in.Namespace,
		Addr:      in.Addr,
		Tags:      in.Tags,
		Meta:      in.Meta,
		Weight:    in.Weight,
		Status:    uint8(in.Status),
	}
	if !in.Started.IsZero() {
		rec.Started = in.Started.UnixMilli()
	}
	data, err := c.enc.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("local: encode %s: %w", in.ID, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("local: encode %s: %w: %d bytes, want at most %d",
			in.ID, discovery.ErrLimit, len(data), maxFile)
	}
	return data, nil
}

// parseFile decodes the contents of the file name, a base name with its suffix. The result is valid
// and normalized, and its ID matches the file name.
func (c coder) parseFile(name string, data []byte) (discovery.Instance, error) {
	if len(data) > maxFile {
		return discovery.Instance{}, fmt.Errorf("larger than %d bytes", maxFile)
	}
	var rec record
	if err := c.dec.Unmarshal(data, &rec); err != nil {
		return discovery.Instance{}, fmt.Errorf("corrupt: %w", err)
	}
	if rec.Format != recordFormat {
		return discovery.Instance{}, fmt.Errorf("%w %d; this version of link reads %d", errFormat, rec.Format, recordFormat)
	}
	in := discovery.Instance{
		ID:        rec.ID,
		Service:   rec.Service,
		Namespace: rec.Namespace,
		Addr:      rec.Addr,
		Tags:      rec.Tags,
		Meta:      rec.Meta,
		Weight:    rec.Weight,
		Status:    discovery.Status(rec.Status),
	}
	if rec.Started != 0 {
		in.Started = time.UnixMilli(rec.Started)
	}
	if err := in.Validate(); err != nil {
		return discovery.Instance{}, err
	}
	if id, ok := strings.CutSuffix(name, suffix); !ok || id != in.ID {
		return discovery.Instance{}, fmt.Errorf("holds instance %s, which does not match the file's name", in.ID)
	}
	return in.Normalized(), nil
}
