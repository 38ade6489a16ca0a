package static_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/bounds"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		// want has elements of the form namespace/service@addr[tags].
		want []string
	}{
		{"", nil},
		{" ;; \n ", nil},
		{"orders=10.0.0.5:7443", []string{"default/orders@10.0.0.5:7443"}},
		{
			"orders=10.0.0.5:7443,10.0.0.6:7443;users=users.internal:7443",
			[]string{"default/orders@10.0.0.5:7443", "default/orders@10.0.0.6:7443", "default/users@users.internal:7443"},
		},
		{
			" orders = 10.0.0.5:7443 , [2001:db8::1]:7443 ;\r\n shop/orders = localhost:1 ;",
			[]string{"default/orders@10.0.0.5:7443", "default/orders@[2001:db8::1]:7443", "shop/orders@localhost:1"},
		},
		{
			"catalog=10.0.0.5:7443[v2,zone=a],10.0.0.6:7443, [2001:db8::1]:7443 [ v1 , zone=b ] ; a=h:1[x=y=z]",
			[]string{"default/catalog@10.0.0.5:7443[v2 zone=a]", "default/catalog@10.0.0.6:7443", "default/catalog@[2001:db8::1]:7443[v1 zone=b]", "default/a@h:1[x=y=z]"},
		},
	} {
		got, err := static.Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		var have []string
		for _, in := range got {
			text := in.Query().String() + "@" + in.Addr
			if len(in.Tags) > 0 {
				text += "[" + strings.Join(in.Tags, " ") + "]"
			}
			have = append(have, text)
		}
		if strings.Join(have, " ") != strings.Join(c.want, " ") {
			t.Errorf("%q:\ngot  %q\nwant %q", c.text, have, c.want)
		}
		if _, err := static.New(got...); err != nil {
			t.Errorf("%q: New: %v", c.text, err)
		}
	}
}

func TestParseNamesTheWrongPiece(t *testing.T) {
	for _, c := range []struct{ text, piece string }{
		{"orders", `"orders": want service=host:port`},
		{"users=10.0.0.1:1;orders:10.0.0.5:7443", `"orders:10.0.0.5:7443"`},
		{"=10.0.0.5:7443", "Service"},
		{"or ders=10.0.0.5:7443", `"or ders"`},
		{"/orders=10.0.0.5:7443", "empty namespace"},
		{"a/b/c=10.0.0.5:7443", `"b/c"`},
		{"orders=", "address 1 is empty"},
		{"orders=10.0.0.5:7443,", "address 2 is empty"},
		{"orders=10.0.0.5", `"10.0.0.5"`},
		{"orders=10.0.0.5:0", `"10.0.0.5:0"`},
		{"orders=10.0.0.5:+7", `"10.0.0.5:+7"`},
		{"orders=:7443", `":7443"`},
		{"orders=0.0.0.0:7443", `"0.0.0.0:7443"`},
		{"orders=2001:db8::1:7443", `"2001:db8::1:7443"`},
		{"orders=10.0.0.5:7443, 10.0.0.5:7443", "listed twice"},
		{"orders=10.0.0.5:7443, 10.0.0.5:7443[v2]", "listed twice"},
		{"orders=10.0.0.5:7443[]", "a tag is empty"},
		{"orders=10.0.0.5:7443[v2,,v3]", "a tag is empty"},
		{"orders=10.0.0.5:7443[v2", "want the tags between brackets"},
		{"orders=10.0.0.5:7443[v2],", "address 2 is empty"},
		{"orders=10.0.0.5:7443[v2]x,10.0.0.6:7443", "want the tags between brackets"},
		{"orders=10.0.0.5:7443[v2]]", "want the tags between brackets"},
		{"orders=10.0.0.5:7443[v 2]", `Tags[0]`},
		{"orders=10.0.0.5:7443[zone=a,zone=b]", `"zone=b": "zone=a" is there, too`},
		{"orders=10.0.0.5:7443[zone=]", "names no zone"},
		{"orders=10.0.0.5[v2]", `"10.0.0.5"`},
		{"orders=[v2]", `"[v2]"`},
		{"orders=10.0.0.5:7443;orders=10.0.0.6:7443", "default/orders is listed twice"},
		{"orders=10.0.0.5:7443;default/orders=10.0.0.6:7443", "default/orders is listed twice"},
		{"orders=10.0.0.5:7443=x", `"10.0.0.5:7443=x"`},
		{"orders=" + strings.Repeat("x,", bounds.MaxInstances) + "x", "16385 addresses"},
		{strings.Repeat(" ", 1<<20+1), "1048577 bytes"},
	} {
		got, err := static.Parse(c.text)
		if !errors.Is(err, discovery.ErrInvalidConfig) || !strings.HasPrefix(err.Error(), "static: malformed list of peers: ") ||
			!strings.Contains(err.Error(), c.piece) || got != nil {
			t.Errorf("%.60q: got %v and error %v, want ErrInvalidConfig with %s", c.text, got, err, c.piece)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%.60q: the error has %d bytes", c.text, len(err.Error()))
		}
	}
}

func TestStableIDsAreStableAndDistinct(t *testing.T) {
	first, err := static.Parse("orders=a:1,a:2,a_1:1,[::1]:1;shop/orders=a:1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := static.Parse("shop/orders=a:1;orders=[::1]:1,a:2,a:1")
	if err != nil {
		t.Fatal(err)
	}
	idOf := make(map[string]string)
	seen := make(map[string]bool)
	for _, in := range first {
		if seen[in.ID] {
			t.Errorf("ID %s twice", in.ID)
		}
		seen[in.ID] = true
		idOf[in.Query().String()+in.Addr] = in.ID
	}
	for _, in := range again {
		if idOf[in.Query().String()+in.Addr] != in.ID {
			t.Errorf("%s at %s has another ID the second time: %s", in.Query(), in.Addr, in.ID)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "orders=10.0.0.5:7443,10.0.0.6:7443;users=u:1", "a=b:1[v2,zone=a],[::1]:2[x]", "shop/orders=[::1]:1\n", "a=b:1,;", "=;=", "a=\x00:1", "é=é:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		instances, err := static.Parse(text)
		if err != nil {
			if !errors.Is(err, discovery.ErrInvalidConfig) {
				t.Fatalf("error %v is not ErrInvalidConfig", err)
			}
			return
		}
		// New accepts whatever Parse accepts, and writing it out and parsing it again gives the same instances.
		if _, err := static.New(instances...); err != nil {
			t.Fatalf("New refuses what Parse accepts: %v", err)
		}
		var b strings.Builder
		last := ""
		for _, in := range instances {
			text := in.Addr
			if len(in.Tags) > 0 {
				text += "[" + strings.Join(in.Tags, ",") + "]"
			}
			if q := in.Query().String(); q != last {
				b.WriteString(";" + q + "=" + text)
				last = q
			} else {
				b.WriteString("," + text)
			}
		}
		again, err := static.Parse(b.String())
		if err != nil || len(again) != len(instances) {
			t.Fatalf("%q written as %q: %d instances, %v", text, b.String(), len(again), err)
		}
		for i := range again {
			if !again[i].Equal(instances[i]) {
				t.Fatalf("instance %d: %+v, was %+v", i, again[i], instances[i])
			}
		}
	})
}
