package wire_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// The tests in this file check rules that hold for every map body.

func TestBodyRoundTrip(t *testing.T) {
	for _, c := range bodyCodecs() {
		body := unhex(t, c.full)
		v, err := c.parse(body)
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if _, again := splitFrame(t, c.write(nil, v)); !bytes.Equal(again, body) {
			t.Errorf("%v written again differs:\n in %x\nout %x", c, body, again)
		}
		checkRoundTrip(t, c, body)
	}
}

func TestBodyCutShortIsMalformed(t *testing.T) {
	for _, c := range bodyCodecs() {
		body := unhex(t, c.full)
		for n := range body {
			if _, err := c.parse(body[:n]); err == nil && (n > 0 || c.kind != wire.KindStatus) {
				t.Errorf("%v of %d of %d bytes is accepted", c, n, len(body))
			} else if n > 0 {
				wantSyntax(t, err, c.String(), "ends early")
			}
		}
	}
}

func TestBodyThatIsNotDeterministicIsMalformed(t *testing.T) {
	for _, c := range bodyCodecs() {
		body := unhex(t, c.full)
		head, rest := body[0], body[1:]
		count := head & 0x1f
		last := byte(slices.Max(slices.Concat(c.required, c.optional)))
		more := append([]byte{head + 1}, rest...)
		for name, tc := range map[string]struct {
			body   []byte
			reason string
		}{
			"bytes after the end":      {append(bytes.Clone(body), 0), "after the end"},
			"long form of the count":   {append([]byte{0xb8, count}, rest...), "shortest"},
			"longer form of the count": {append([]byte{0xb9, 0, count}, rest...), "shortest"},
			"indefinite map":           {append(append([]byte{0xbf}, rest...), 0xff), "indefinite"},
			"reserved length":          {append([]byte{0xbc}, rest...), "reserved"},
			"tag":                      {append([]byte{0xd8, 0x40}, body...), "expected a map"},
			"array":                    {append([]byte{0x80 | count}, rest...), "expected a map"},
			"integer":                  {[]byte{0x01}, "expected a map"},
			"null":                     {[]byte{0xf6}, "expected a map"},
			"key twice":                {append(bytes.Clone(more), last, 0), "out of order"},
			"key out of order":         {append(bytes.Clone(more), 0, 0), "out of order"},
			"text key":                 {append(bytes.Clone(more), 0x61, 'k', 0), "expected an unsigned integer"},
			"negative key":             {append(bytes.Clone(more), 0x20, 0), "expected an unsigned integer"},
			"key in a long form":       {append(bytes.Clone(more), 0x18, 0x17, 0), "shortest"},
			"key without a value":      {append(bytes.Clone(more), 0x17), "ends early"},
		} {
			t.Run(c.String()+"/"+name, func(t *testing.T) {
				_, err := c.parse(tc.body)
				wantSyntax(t, err, c.String(), tc.reason)
			})
		}
	}
}

func TestBodyTooLargeExceedsLimit(t *testing.T) {
	for _, c := range bodyCodecs() {
		t.Run(c.String(), func(t *testing.T) {
			body := unhex(t, c.full)
			// fill adds an unknown key with a byte string, so that the body has total bytes.
			fill := func(total int) []byte {
				b := append([]byte{body[0] + 1}, body[1:]...)
				b = append(b, 0x18, 0x63, 0x5a, 0, 0, 0, 0)
				n := total - len(b)
				b[len(b)-4], b[len(b)-3], b[len(b)-2], b[len(b)-1] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
				return append(b, make([]byte, n)...)
			}
			// 70 000 takes the four-byte form of the length, 16 KiB the two-byte form.
			_, err := c.parse(fill(70_000))
			wantLimit(t, err, uint64(c.limit), 70_000)
			full, err := c.parse(body)
			if err != nil {
				t.Fatal(err)
			}
			b := append([]byte{body[0] + 1}, body[1:]...)
			b = append(b, 0x18, 0x63, 0x59, 0x3f, 0x00)
			b = append(b, make([]byte, 0x3f00)...)
			if got, err := c.parse(b); err != nil || diff(full, got) != "" {
				t.Errorf("a body of %d bytes: %v, changed %s", len(b), err, diff(full, got))
			}
		})
	}
}

func TestBodyWithTooManyFieldsExceedsLimit(t *testing.T) {
	for _, c := range bodyCodecs() {
		_, err := c.parse(unhex(t, "b9 0401"+strings.Repeat("00", 2100)))
		wantLimit(t, err, 1024, 1025)
	}
}

// withUnknown returns body with one more key, which is unknown.
func withUnknown(body, value []byte) []byte {
	b := append([]byte{body[0] + 1}, body[1:]...)
	return append(append(b, 0x18, 0x63), value...)
}

func TestUnknownKeyIsSkipped(t *testing.T) {
	values := map[string]string{
		"integer":          "1b ffffffffffffffff",
		"negative integer": "38 ff",
		"bytes":            "43 010203",
		"text":             "64 f09f9880",
		"array":            "83 01 20 f6",
		"map":              "a2 01 02 61 61 80",
		"any key order":    "a2 61 62 00 61 61 00",
		"false":            "f4",
		"null":             "f6",
		"undefined":        "f7",
		"simple value":     "f8 20",
		"half float":       "f9 0000",
		"float":            "fa 00000000",
		"double":           "fb 0000000000000000",
		"four levels":      "81 a1 00 81 00",
		"many elements":    "99 03ff" + strings.Repeat("00", 1023),
		"many pairs":       "b9 01ff" + strings.Repeat("00", 1022),
	}
	for _, c := range bodyCodecs() {
		body := unhex(t, c.full)
		want, err := c.parse(body)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range values {
			t.Run(c.String()+"/"+name, func(t *testing.T) {
				got, err := c.parse(withUnknown(body, unhex(t, value)))
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(want, got); d != "" {
					t.Errorf("the known fields changed (-want +got):\n%s", d)
				}
			})
		}
	}
}

func TestUnknownKeyWithBadValueIsMalformed(t *testing.T) {
	values := map[string]struct{ hex, reason string }{
		"nothing":                   {"", "ends early"},
		"tag":                       {"c0 00", "tags"},
		"tag inside":                {"81 c1 00", "tags"},
		"indefinite bytes":          {"5f 41 00 ff", "indefinite"},
		"indefinite text":           {"7f 61 61 ff", "indefinite"},
		"indefinite array":          {"9f ff", "indefinite"},
		"indefinite map":            {"bf ff", "indefinite"},
		"break":                     {"ff", "indefinite"},
		"reserved":                  {"1c", "reserved"},
		"long form of an integer":   {"18 17", "shortest"},
		"long form of 16 bits":      {"19 00ff", "shortest"},
		"long form of 32 bits":      {"1a 0000ffff", "shortest"},
		"long form of 64 bits":      {"1b 00000000ffffffff", "shortest"},
		"long form of a negative":   {"38 00", "shortest"},
		"long form of a length":     {"58 01 00", "shortest"},
		"long form of a simple":     {"f8 14", "simple"},
		"bytes cut short":           {"42 00", "ends early"},
		"huge bytes":                {"5b ffffffffffffffff", "ends early"},
		"huge text":                 {"7b ffffffffffffffff", "ends early"},
		"huge array":                {"9b ffffffffffffffff", "ends early"},
		"huge map":                  {"bb 8000000000000000", "ends early"},
		"array cut short":           {"82 00", "ends early"},
		"map cut short":             {"a1 00", "ends early"},
		"integer cut short":         {"19 01", "ends early"},
		"float cut short":           {"f9 00", "ends early"},
		"text that is not UTF-8":    {"61 ff", "UTF-8"},
		"text cut inside a rune":    {"61 c3", "UTF-8"},
		"five levels of arrays":     {"81 81 81 81 00", "too deep"},
		"five levels of maps":       {"a1 00 a1 00 a1 00 a1 00 00", "too deep"},
		"too many elements":         {"99 0400" + strings.Repeat("00", 1024), "too many elements"},
		"too many nested elements":  {"82 99 0200" + strings.Repeat("00", 512) + "99 0200" + strings.Repeat("00", 512), "too many elements"},
		"too many pairs":            {"b9 0200" + strings.Repeat("00", 1024), "too many elements"},
		"a bomb of nested arrays":   {strings.Repeat("9a 00100000", 200) + strings.Repeat("00", 1000), "ends early"},
		"a bomb of shallow nesting": {strings.Repeat("81", 10_000) + "00", "too deep"},
	}
	for _, c := range bodyCodecs() {
		body := unhex(t, c.full)
		for name, tc := range values {
			t.Run(c.String()+"/"+name, func(t *testing.T) {
				_, err := c.parse(withUnknown(body, unhex(t, tc.hex)))
				wantSyntax(t, err, c.String(), tc.reason)
			})
		}
	}
}
