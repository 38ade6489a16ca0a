package discovery_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

func valid() discovery.Instance {
	return discovery.Instance{ID: "orders-1", Service: "orders", Addr: "192.0.2.1:7443"}
}

func fullMeta(n int) map[string]string {
	meta := make(map[string]string, n)
	for i := range n {
		key := strconv.Itoa(i)
		meta[key+strings.Repeat("k", bounds.MaxMetaKey-len(key))] = strings.Repeat("v", bounds.MaxMetaValue)
	}
	return meta
}

func fullTags(n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = strconv.Itoa(i) + strings.Repeat("t", bounds.MaxTag-len(strconv.Itoa(i)))
	}
	return tags
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*discovery.Instance){
		"the least":        func(*discovery.Instance) {},
		"an IPv6 address":  func(in *discovery.Instance) { in.Addr = "[2001:db8::1]:1" },
		"an IPv6 zone":     func(in *discovery.Instance) { in.Addr = "[fe80::1%eth0]:65535" },
		"a host name":      func(in *discovery.Instance) { in.Addr = "orders-1.shop_a.internal.:7443" },
		"loopback":         func(in *discovery.Instance) { in.Addr = "127.0.0.1:7443" },
		"tags to the full": func(in *discovery.Instance) { in.Tags = fullTags(bounds.MaxTags) },
		"tags in any script": func(in *discovery.Instance) {
			in.Tags = []string{"größe=m", "区=東", "k/v:a,b;c"}
		},
		"meta to the full":   func(in *discovery.Instance) { in.Meta = fullMeta(bounds.MaxMeta) },
		"an empty value":     func(in *discovery.Instance) { in.Meta = map[string]string{"a": ""} },
		"the longest ID":     func(in *discovery.Instance) { in.ID = strings.Repeat("a", bounds.MaxID) },
		"the longest name":   func(in *discovery.Instance) { in.Service = strings.Repeat("a", bounds.MaxName) },
		"the largest weight": func(in *discovery.Instance) { in.Weight = bounds.MaxWeight },
		"draining":           func(in *discovery.Instance) { in.Status = discovery.Draining },
		"a start":            func(in *discovery.Instance) { in.Started = time.Unix(1_700_000_000, 0) },
	} {
		in := valid()
		change(&in)
		if err := in.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := in.Normalized().Validate(); err != nil {
			t.Errorf("%s, normalized: %v", name, err)
		}
	}
}

func TestValidateNamesFieldAndValue(t *testing.T) {
	for _, c := range []struct {
		field, value string
		spoil        func(*discovery.Instance)
	}{
		{"ID", `""`, func(in *discovery.Instance) { in.ID = "" }},
		{"ID", `"../etc"`, func(in *discovery.Instance) { in.ID = "../etc" }},
		{"ID", `".hidden"`, func(in *discovery.Instance) { in.ID = ".hidden" }},
		{"ID", `"a."`, func(in *discovery.Instance) { in.ID = "a." }},
		{"ID", `"aaa`, func(in *discovery.Instance) { in.ID = strings.Repeat("a", bounds.MaxID+1) }},
		{"Service", `""`, func(in *discovery.Instance) { in.Service = "" }},
		{"Service", `"or/ders"`, func(in *discovery.Instance) { in.Service = "or/ders" }},
		{"Service", `"aaa`, func(in *discovery.Instance) { in.Service = strings.Repeat("a", bounds.MaxName+1) }},
		{"Namespace", `"a b"`, func(in *discovery.Instance) { in.Namespace = "a b" }},
		{"Addr", `""`, func(in *discovery.Instance) { in.Addr = "" }},
		{"Addr", `"192.0.2.1"`, func(in *discovery.Instance) { in.Addr = "192.0.2.1" }},
		{"Addr", `"192.0.2.1:0"`, func(in *discovery.Instance) { in.Addr = "192.0.2.1:0" }},
		{"Addr", `"192.0.2.1:65536"`, func(in *discovery.Instance) { in.Addr = "192.0.2.1:65536" }},
		{"Addr", `"192.0.2.1:http"`, func(in *discovery.Instance) { in.Addr = "192.0.2.1:http" }},
		{"Addr", `":7443"`, func(in *discovery.Instance) { in.Addr = ":7443" }},
		{"Addr", `"0.0.0.0:7443"`, func(in *discovery.Instance) { in.Addr = "0.0.0.0:7443" }},
		{"Addr", `"[::]:7443"`, func(in *discovery.Instance) { in.Addr = "[::]:7443" }},
		{"Addr", `"[::ffff:0.0.0.0]:7443"`, func(in *discovery.Instance) { in.Addr = "[::ffff:0.0.0.0]:7443" }},
		{"Addr", `"224.0.0.1:7443"`, func(in *discovery.Instance) { in.Addr = "224.0.0.1:7443" }},
		{"Addr", `"255.255.255.255:7443"`, func(in *discovery.Instance) { in.Addr = "255.255.255.255:7443" }},
		{"Addr", `"a b:7443"`, func(in *discovery.Instance) { in.Addr = "a b:7443" }},
		{"Addr", `"[fe80::1%a\nb]:1"`, func(in *discovery.Instance) { in.Addr = "[fe80::1%a\nb]:1" }},
		{"Addr", `"-x:1"`, func(in *discovery.Instance) { in.Addr = "-x:1" }},
		{"Tags", "65 tags", func(in *discovery.Instance) { in.Tags = fullTags(bounds.MaxTags + 1) }},
		{"Tags[1]", `""`, func(in *discovery.Instance) { in.Tags = []string{"z", "", "a"} }},
		{"Tags[0]", `"a b"`, func(in *discovery.Instance) { in.Tags = []string{"a b"} }},
		{"Tags[0]", `"a\x00"`, func(in *discovery.Instance) { in.Tags = []string{"a\x00"} }},
		{"Tags[0]", `"\xff"`, func(in *discovery.Instance) { in.Tags = []string{"\xff"} }},
		{"Tags[0]", `"a\u202eb"`, func(in *discovery.Instance) { in.Tags = []string{"a\u202eb"} }},
		{"Tags[0]", `"ttt`, func(in *discovery.Instance) { in.Tags = []string{strings.Repeat("t", bounds.MaxTag+1)} }},
		{"Meta", "57 pairs", func(in *discovery.Instance) { in.Meta = fullMeta(bounds.MaxMeta + 1) }},
		{"Meta key", `""`, func(in *discovery.Instance) { in.Meta = map[string]string{"": "v"} }},
		{"Meta key", `"a.b"`, func(in *discovery.Instance) { in.Meta = map[string]string{"a.b": "v"} }},
		{`Meta["a"]`, `"x\ny"`, func(in *discovery.Instance) { in.Meta = map[string]string{"a": "x\ny"} }},
		{`Meta["a"]`, `"vvv`, func(in *discovery.Instance) {
			in.Meta = map[string]string{"a": strings.Repeat("v", bounds.MaxMetaValue+1)}
		}},
		{"Weight", "-1", func(in *discovery.Instance) { in.Weight = -1 }},
		{"Weight", "65536", func(in *discovery.Instance) { in.Weight = bounds.MaxWeight + 1 }},
		{"Status", "2", func(in *discovery.Instance) { in.Status = 2 }},
		{"Started", "1969-", func(in *discovery.Instance) { in.Started = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		in := valid()
		c.spoil(&in)
		err := in.Validate()
		var fe *discovery.FieldError
		if !errors.Is(err, discovery.ErrInvalidInstance) || !errors.As(err, &fe) || fe.Field != c.field ||
			!strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), strings.Trim(c.value, `"`)) {
			t.Errorf("%s %s: error %v", c.field, c.value, err)
			continue
		}
		if text := err.Error(); len(text) > 400 || strings.ContainsAny(text, "\n\x00\u202e") {
			t.Errorf("%s %s: the message is unfit for a log: %q", c.field, c.value, text)
		}
	}
}

func TestTagQueries(t *testing.T) {
	q := discovery.TagQuery{Tag: "topic:placed"}
	if q.Normalized() != (discovery.TagQuery{Tag: "topic:placed", Namespace: "default"}) || q.String() != "default/topic:placed" {
		t.Errorf("normalized %+v, prints as %s", q.Normalized(), q)
	}
	for field, bad := range map[string]discovery.TagQuery{
		"Tag":       {Tag: "a b", Namespace: "shop"},
		"Namespace": {Tag: "v2", Namespace: "a/b"},
	} {
		var fe *discovery.FieldError
		if err := bad.Validate(); !errors.Is(err, discovery.ErrInvalidQuery) || !errors.As(err, &fe) || fe.Field != field {
			t.Errorf("%s: error %v", field, err)
		}
	}
	// A tag is valid in a query exactly if an instance may announce it.
	for _, tag := range append(fullTags(3), "", " ", "a b", "a\n", "größe=m", strings.Repeat("t", bounds.MaxTag+1), "\xff") {
		in := valid()
		in.Tags = []string{tag}
		if got, want := (discovery.TagQuery{Tag: tag}).Validate() == nil, in.Validate() == nil; got != want {
			t.Errorf("%q may be looked for: %t, announced: %t", tag, got, want)
		}
	}
}

func TestNormalizedFillsInAndCopies(t *testing.T) {
	in := valid()
	in.Tags = []string{"b", "a", "b"}
	in.Meta = map[string]string{"k": "v"}
	in.Started = time.Now().In(time.FixedZone("", -7200))
	got := in.Normalized()
	if got.Namespace != "default" || got.Weight != 100 || strings.Join(got.Tags, " ") != "a b" {
		t.Errorf("got %+v", got)
	}
	if got.Started.Location() != time.UTC || in.Started.Sub(got.Started) >= time.Millisecond || got.Started.After(in.Started) {
		t.Errorf("Started %v became %v", in.Started, got.Started)
	}
	got.Tags[0], got.Meta["k"] = "x", "x"
	if strings.Join(in.Tags, " ") != "b a b" || in.Meta["k"] != "v" {
		t.Errorf("the original changed with the copy: %+v", in)
	}
	if again := in.Normalized(); !again.Equal(again.Normalized()) {
		t.Errorf("normalizing twice differs: %+v", again.Normalized())
	}
	empty := valid()
	empty.Tags, empty.Meta = []string{}, map[string]string{}
	if got := empty.Normalized(); got.Tags != nil || got.Meta != nil {
		t.Errorf("empty sets are kept: %+v", got)
	}
}

func TestEqualSeesEveryField(t *testing.T) {
	for name, change := range map[string]func(*discovery.Instance){
		"ID":        func(in *discovery.Instance) { in.ID = "x" },
		"Service":   func(in *discovery.Instance) { in.Service = "x" },
		"Namespace": func(in *discovery.Instance) { in.Namespace = "x" },
		"Addr":      func(in *discovery.Instance) { in.Addr = "x" },
		"Tags":      func(in *discovery.Instance) { in.Tags = []string{"x"} },
		"Meta":      func(in *discovery.Instance) { in.Meta = map[string]string{"x": ""} },
		"Weight":    func(in *discovery.Instance) { in.Weight = 1 },
		"Status":    func(in *discovery.Instance) { in.Status = discovery.Draining },
		"Started":   func(in *discovery.Instance) { in.Started = time.Unix(1, 0) },
	} {
		in := valid()
		change(&in)
		if in.Equal(valid()) || !in.Equal(in) {
			t.Errorf("%s is not compared", name)
		}
	}
}

func TestCompareOrdersByID(t *testing.T) {
	list := []discovery.Instance{{ID: "c", Service: "a"}, {ID: "a", Service: "c"}, {ID: "b", Service: "b"}}
	slices.SortFunc(list, discovery.Instance.Compare)
	if list[0].ID != "a" || list[1].ID != "b" || list[2].ID != "c" || list[0].Compare(list[0]) != 0 {
		t.Errorf("sorted: %+v", list)
	}
}

func TestNewInstanceIDIsValidUniqueAndSortable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := ""
		seen := make(map[string]bool)
		for range 1000 {
			<-time.After(time.Millisecond)
			id := discovery.NewInstanceID("orders")
			in := valid()
			in.ID = id
			if err := in.Validate(); err != nil {
				t.Fatal(err)
			}
			if id <= last {
				t.Fatalf("%s after %s", id, last)
			}
			last = id
			for range 3 {
				same := discovery.NewInstanceID("orders")
				if seen[same] {
					t.Fatalf("%s twice", same)
				}
				seen[same] = true
			}
		}
	})
	long := discovery.NewInstanceID(strings.Repeat("a", 500))
	if len(long) != bounds.MaxID {
		t.Errorf("a long name gives %d bytes, want %d", len(long), bounds.MaxID)
	}
}

func TestNewInstanceIDIsAULID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock starts at 2000-01-01T00:00:00Z, 946684800000 ms: 00VHNCZB00 in Crockford's base 32.
		id := discovery.NewInstanceID("orders")
		if rest, ok := strings.CutPrefix(id, "orders-00VHNCZB00"); !ok || len(rest) != 16 {
			t.Errorf("%s does not begin with the time, or is not 26 characters long", id)
		}
	})
}

func TestStatusPrints(t *testing.T) {
	for status, want := range map[discovery.Status]string{
		discovery.Serving: "serving", discovery.Draining: "draining", 9: "invalid",
	} {
		if status.String() != want {
			t.Errorf("%d prints as %s, want %s", status, status, want)
		}
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("orders-1", "orders", "", "192.0.2.1:7443", "v2", "k", "v", 1, uint8(0), int64(0))
	f.Add("", "a/b", "x", "[::1%25]:1", " ", "", "\n", -1, uint8(3), int64(-1))
	f.Fuzz(func(t *testing.T, id, service, namespace, addr, tag, key, value string, weight int, status uint8, started int64) {
		in := discovery.Instance{
			ID: id, Service: service, Namespace: namespace, Addr: addr, Tags: []string{tag},
			Meta: map[string]string{key: value}, Weight: weight, Status: discovery.Status(status),
			Started: time.UnixMilli(started),
		}
		err := in.Validate()
		if (err == nil) != (in.Normalized().Validate() == nil) {
			t.Fatalf("normalizing changes the verdict: %v, then %v", err, in.Normalized().Validate())
		}
		if err != nil {
			return
		}
		if strings.ContainsAny(id+service+namespace, "/ \n\x00") || strings.ContainsAny(addr+tag, " \n\x00") {
			t.Fatalf("accepted %+v", in)
		}
	})
}
