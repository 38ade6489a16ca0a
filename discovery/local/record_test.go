package local

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

func largest() discovery.Instance {
	in := discovery.Instance{
		ID:        strings.Repeat("i", bounds.MaxID),
		Service:   strings.Repeat("s", bounds.MaxName),
		Namespace: strings.Repeat("n", bounds.MaxName),
		Addr:      strings.Repeat("h", bounds.MaxHost) + ":65535",
		Meta:      make(map[string]string),
		Weight:    bounds.MaxWeight,
		Status:    discovery.Draining,
		Started:   time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC),
	}
	for i := range bounds.MaxTags {
		n := strconv.Itoa(i)
		in.Tags = append(in.Tags, n+strings.Repeat("t", bounds.MaxTag-len(n)))
	}
	for i := range bounds.MaxMeta {
		n := strconv.Itoa(i)
		in.Meta[n+strings.Repeat("k", bounds.MaxMetaKey-len(n))] = strings.Repeat("v", bounds.MaxMetaValue)
	}
	return in
}

func TestTheLargestInstanceFitsIntoAFile(t *testing.T) {
	c, err := newCoder()
	if err != nil {
		t.Fatal(err)
	}
	in := largest().Normalized()
	if err := in.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := c.encode(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.parseFile(in.ID+suffix, data)
	if err != nil || !got.Equal(in) {
		t.Errorf("%d bytes came back as %+v, %v", len(data), got, err)
	}
}

func TestKeysOfANewerLinkAreIgnored(t *testing.T) {
	c, err := newCoder()
	if err != nil {
		t.Fatal(err)
	}
	type newer struct {
		record

		Zone string   `cbor:"99,keyasint"`
		More []string `cbor:"100,keyasint"`
	}
	data, err := c.enc.Marshal(newer{
		record: record{Format: recordFormat, ID: "orders-1", Service: "orders", Addr: "192.0.2.1:7443"},
		Zone:   "eu", More: []string{"a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.parseFile("orders-1.cbor", data)
	if err != nil || in.ID != "orders-1" || in.Weight != discovery.DefaultWeight {
		t.Errorf("got %+v, %v", in, err)
	}
}

func FuzzParseFile(f *testing.F) {
	c, err := newCoder()
	if err != nil {
		f.Fatal(err)
	}
	small := discovery.Instance{ID: "orders-1", Service: "orders", Addr: "192.0.2.1:7443", Tags: []string{"v2"}}
	full := small
	full.Namespace, full.Status, full.Started = "shop", discovery.Draining, time.UnixMilli(1_700_000_000_000)
	full.Meta = map[string]string{"link-proto": "1", "owner": "team a"}
	// The largest instance is not a seed, because minimizing 50 KiB takes the fuzzer a minute each time.
	for _, in := range []discovery.Instance{small, full} {
		data, err := c.encode(in.Normalized())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in.ID+suffix, data)
		f.Add("else"+suffix, data)
		f.Add(in.ID+suffix, data[:len(data)/2])
	}
	f.Add("", []byte{})
	f.Add(suffix, []byte{0xa0})
	f.Add("orders-1.cbor", []byte{0xa2, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		in, err := c.parseFile(name, data)
		if err != nil {
			return
		}
		if err := in.Validate(); err != nil {
			t.Fatalf("accepted what is invalid: %v", err)
		}
		if in.ID+suffix != name || !in.Equal(in.Normalized()) {
			t.Fatalf("%q holds %+v", name, in)
		}
		again, err := c.encode(in)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if back, err := c.parseFile(name, again); err != nil || !back.Equal(in) {
			t.Fatalf("%+v came back as %+v, %v", in, back, err)
		}
	})
}
