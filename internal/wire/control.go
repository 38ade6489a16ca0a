package wire

import "slices"

// GoAway announces that the sender drains. It may be sent twice: first with
// LastStream at [MaxVarint], so that peers choose another node, then with the
// last stream that the sender serves.
type GoAway struct {
	LastStream uint64 // key 1: the ID of the peer's last stream that is served
	Reason     string // key 3: text for people
}

// AppendGoAway appends a whole GOAWAY frame.
func AppendGoAway(b []byte, g *GoAway) []byte {
	b, body := BeginFrame(b, KindGoAway, 0)
	b = appendHead(b, majorMap, 2)
	b = appendUint(append(b, 1), g.LastStream)
	b = appendText(append(b, 3), g.Reason)
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseGoAway parses the body of a GOAWAY frame. The result owns its memory.
func ParseGoAway(body []byte) (g GoAway, err error) {
	r := reader{b: body, what: "GOAWAY"}
	r.bounded()
	r.fields(func(key uint64) bool {
		switch key {
		case 1:
			g.LastStream = r.uint62()
		case 3:
			g.Reason = string(r.text(MaxText))
		default:
			return false
		}
		return true
	})
	if err := r.end(); err != nil {
		return GoAway{}, err
	}
	return g, nil
}

// Health says whether the sender takes new work. It is sent on every change.
type Health struct {
	State State // key 1
}

// AppendHealth appends a whole HEALTH frame.
func AppendHealth(b []byte, h *Health) []byte {
	b, body := BeginFrame(b, KindHealth, 0)
	b = appendUint(append(appendHead(b, majorMap, 1), 1), uint64(h.State))
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseHealth parses the body of a HEALTH frame.
func ParseHealth(body []byte) (h Health, err error) {
	r := reader{b: body, what: "HEALTH"}
	r.bounded()
	r.fields(func(key uint64) bool {
		if key == 1 {
			h.State = State(r.uint())
		}
		return key == 1
	})
	if err := r.end(); err != nil {
		return Health{}, err
	}
	return h, nil
}

// RouteInfo is an entry of a route table.
type RouteInfo struct {
	// Kind is the kind of the route: method, topic, stage, …
	Kind uint64
	Name string
	// Level is the idempotency level of a method.
	Level uint64
	// MaxMessage is the size of the largest message in bytes, in both directions.
	// Zero means unspecified.
	MaxMessage uint64
}

// Routes announces routes of the sender and assigns numbers to them. Numbers are
// assigned once per connection and never change; a later frame adds to the table.
type Routes struct {
	First  uint64      // key 1: number of the first route of this frame; the others are numbered consecutively
	Routes []RouteInfo // key 2; key 3: MaxMessage of each, left out if all are 0
}

// AppendRoutes appends a whole ROUTES frame.
func AppendRoutes(b []byte, t *Routes) []byte {
	b, body := BeginFrame(b, KindRoutes, 0)
	sized := slices.ContainsFunc(t.Routes, func(e RouteInfo) bool { return e.MaxMessage != 0 })
	if sized {
		b = appendHead(b, majorMap, 3)
	} else {
		b = appendHead(b, majorMap, 2)
	}
	b = appendUint(append(b, 1), t.First)
	b = appendHead(append(b, 2), majorArray, uint64(len(t.Routes)))
	for _, e := range t.Routes {
		b = appendUint(appendText(appendUint(appendHead(b, majorArray, 3), e.Kind), e.Name), e.Level)
	}
	if sized {
		b = appendHead(append(b, 3), majorArray, uint64(len(t.Routes)))
		for _, e := range t.Routes {
			b = appendUint(b, e.MaxMessage)
		}
	}
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseRoutes parses the body of a ROUTES frame. The result owns its memory.
func ParseRoutes(body []byte) (t Routes, err error) {
	r := reader{b: body, what: "ROUTES"}
	r.bounded()
	r.fields(func(key uint64) bool {
		switch key {
		case 1:
			t.First = r.uint62()
		case 2:
			t.Routes = make([]RouteInfo, 0, r.array(MaxRoutes))
			for range cap(t.Routes) {
				if r.array(3) != 3 {
					r.fail("route is not a triple")
				}
				info := RouteInfo{Kind: r.uint(), Name: string(r.text(MaxName)), Level: r.uint()}
				if info.Name == "" {
					r.fail("empty route")
				}
				t.Routes = append(t.Routes, info)
			}
		case 3:
			if n := r.array(MaxRoutes); r.err == nil && n != len(t.Routes) {
				r.fail("limits of other routes than these")
			}
			for i := range t.Routes {
				t.Routes[i].MaxMessage = r.uint()
			}
		default:
			return false
		}
		return true
	})
	if err := r.end(); err != nil {
		return Routes{}, err
	}
	return t, nil
}

// Tags replaces the tags of SETUP. It is sent on every change.
type Tags struct {
	Tags []string // key 1
}

// AppendTags appends a whole TAGS frame.
func AppendTags(b []byte, t *Tags) []byte {
	b, body := BeginFrame(b, KindTags, 0)
	b = appendTexts(append(appendHead(b, majorMap, 1), 1), t.Tags)
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseTags parses the body of a TAGS frame. The result owns its memory.
func ParseTags(body []byte) (t Tags, err error) {
	r := reader{b: body, what: "TAGS"}
	r.bounded()
	r.fields(func(key uint64) bool {
		if key == 1 {
			t.Tags = r.tags()
		}
		return key == 1
	})
	if err := r.end(); err != nil {
		return Tags{}, err
	}
	return t, nil
}

func appendTexts(b []byte, texts []string) []byte {
	b = appendHead(b, majorArray, uint64(len(texts)))
	for _, text := range texts {
		b = appendText(b, text)
	}
	return b
}

// tags reads an array of tags.
func (r *reader) tags() []string {
	tags := make([]string, 0, r.array(MaxTags))
	for range cap(tags) {
		tags = append(tags, string(r.text(MaxTag)))
	}
	return tags
}

// AppendPing appends a whole PING or PONG frame. A PONG echoes the token of the
// PING that it answers.
func AppendPing(b []byte, kind Kind, token uint64) []byte {
	b, body := BeginFrame(b, kind, 0)
	b = AppendVarint(b, token)
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParsePing parses the body of a PING or PONG frame.
func ParsePing(body []byte) (token uint64, err error) {
	token, n, err := ParseVarint(body)
	if err != nil || n != len(body) {
		return 0, &SyntaxError{What: "PING", Reason: "not one varint"}
	}
	return token, nil
}
