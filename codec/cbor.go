package codec

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// CBOR returns a CBOR codec with the default [Limits]. Create it once and share
// it: every codec has its own buffer pool and its own cache of types.
func CBOR() Codec {
	c, err := NewCBOR(Limits{})
	if err != nil {
		panic(err) //nolint:forbidigo // unreachable: the defaults are valid, TestCBORDefaults holds them there
	}
	return c
}

// NewCBOR returns a CBOR codec that enforces limits. The error wraps [ErrLimits]
// and names the field that is out of range.
func NewCBOR(limits Limits) (Codec, error) {
	limits = limits.withDefaults()
	if err := limits.validate(); err != nil {
		return nil, err
	}
	enc, err := encodeOptions().UserBufferEncMode()
	if err != nil {
		return nil, &Error{Codec: nameCBOR, Op: "configure", Err: err}
	}
	dec, err := decodeOptions(limits).DecMode()
	if err != nil {
		return nil, &Error{Codec: nameCBOR, Op: "configure", Err: err}
	}
	return &cborCodec{enc: enc, dec: dec, limits: limits, parts: maxValues}, nil
}

const nameCBOR = "cbor"

type cborCodec struct {
	enc    cbor.UserBufferEncMode
	dec    cbor.DecMode
	limits Limits
	// parts bounds how many parts of a value Append looks at.
	parts int
	// buffers holds empty *bytes.Buffer values. The storage is always the
	// caller's, so the pool retains no memory of large messages.
	buffers sync.Pool
	plans   plans
}

func (*cborCodec) Name() string { return nameCBOR }
func (*cborCodec) ID() uint8    { return IDCBOR }

func (c *cborCodec) Append(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return append(dst, encodedNull), nil
	}
	k := c.plans.of(v)
	if k.plan != nil {
		// s is not valid if v is a nil pointer.
		if s := reflect.ValueOf(v).Elem(); s.IsValid() {
			return k.plan.append(dst, s), nil
		}
	}
	return c.libraryAppend(dst, v, k)
}

func (c *cborCodec) Decode(data []byte, v any) error {
	// Unmarshal returns an error for a nil destination.
	if v == nil {
		return &Error{Codec: nameCBOR, Op: opDecode, Err: c.dec.Unmarshal(data, v)}
	}
	k := c.plans.of(v)
	if k.plan != nil {
		if s := reflect.ValueOf(v).Elem(); s.IsValid() && k.plan.decode(data, s) {
			return nil
		}
	}
	return c.libraryDecode(data, v, k)
}

func (c *cborCodec) libraryAppend(dst []byte, v any, k *compiled) ([]byte, error) {
	if err := c.fits(v, k); err != nil {
		return dst, &Error{Codec: nameCBOR, Op: opEncode, Type: k.t, Err: err}
	}
	buf, ok := c.buffers.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	*buf = *bytes.NewBuffer(dst)
	err := c.enc.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	c.buffers.Put(buf)
	if err == nil {
		err = c.affordable(out[len(dst):], k)
	}
	if err != nil {
		return dst, &Error{Codec: nameCBOR, Op: opEncode, Type: k.t, Err: err}
	}
	return out, nil
}

func (c *cborCodec) libraryDecode(data []byte, v any, k *compiled) error {
	err := c.decodable(data, k)
	if err == nil {
		err = c.dec.Unmarshal(data, v)
	}
	if err != nil {
		return &Error{Codec: nameCBOR, Op: opDecode, Type: k.t, Err: c.named(err, data)}
	}
	return nil
}

// decodable returns an error for a type that the library would never finish
// decoding, and for a body that becomes too large in memory.
func (c *cborCodec) decodable(data []byte, k *compiled) error {
	if k.layout.broken {
		return errBroken(k.t)
	}
	return c.affordable(data, k)
}

// named turns the library's error about nesting into a [*LimitError], which
// names the limit. It returns other errors unchanged.
func (c *cborCodec) named(err error, data []byte) error {
	if _, ok := errors.AsType[*cbor.MaxNestedLevelError](err); ok {
		return &LimitError{limitNesting, c.limits.MaxNesting, int64(levelsOf(data))}
	}
	return err
}

// encodeOptions returns the options of RFC 8949 core deterministic encoding,
// without tags: decodeOptions refuses tags, so they must not be written.
func encodeOptions() cbor.EncOptions {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339Nano
	opts.TimeTag = cbor.EncTagNone
	opts.TagsMd = cbor.TagsForbidden
	opts.BigIntConvert = cbor.BigIntConvertReject
	opts.TextMarshaler = cbor.TextMarshalerTextString
	return opts
}

func decodeOptions(limits Limits) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels: limits.MaxNesting,
		// The size of elements in memory is checked before decoding.
		MaxArrayElements: math.MaxInt32,
		MaxMapPairs:      math.MaxInt32,
		IndefLength:      cbor.IndefLengthForbidden,
		// Otherwise large negative integers become a big.Int, which cannot be encoded.
		IntDec:            cbor.IntDecConvertSignedOrFail,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
	}
}
