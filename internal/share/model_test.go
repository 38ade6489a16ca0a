package share

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is a simple implementation of the rule of sharing, with maps.
type model struct {
	Config

	held map[Key]int64
}

func (m *model) sum(in func(Key) bool) (n int64) {
	for key, held := range m.held {
		if in(key) {
			n += held
		}
	}
	return n
}

// may reports whether the holder with this key may have n more.
func (m *model) may(key Key, n int64) bool {
	all := m.sum(func(Key) bool { return true }) + n
	mine := m.held[key] + n
	if all > m.Limit || m.Most > 0 && mine > m.Most {
		return false
	}
	free := m.Limit - all
	if key.Place != "" {
		here := m.sum(func(k Key) bool { return k.Place == key.Place }) + n
		if here > m.Floor && here > free {
			return false
		}
		free = m.Limit/2 - here
	}
	return mine <= m.Floor || mine <= free
}

// TestModel compares the pool with the model over random schedules, and checks that
// a holder that comes late gets what the package promises.
func TestModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		conf := Config{Limit: 1 + r.Int64N(2000), Floor: r.Int64N(20)}
		if r.IntN(2) == 0 {
			conf.Most = 1 + r.Int64N(500)
		}
		keys := make([]Key, 1+r.IntN(8))
		for i := range keys {
			keys[i] = Key{Name: fmt.Sprint(i), Place: []string{"", "a", "b"}[r.IntN(3)]}
		}
		p, m := NewPool(conf), model{conf, make(map[Key]int64)}
		for step := range 2000 {
			key, n := keys[r.IntN(len(keys))], 1+r.Int64N(1+conf.Limit/10)
			// The holder is not released, so that the pool remembers it.
			h := p.Holder(key)
			if r.IntN(3) == 0 {
				n = min(n, m.held[key])
				h.Give(n)
				m.held[key] -= n
			} else {
				may, err := m.may(key, n), h.Take(n)
				if may != (err == nil) {
					t.Fatalf("seed %d, step %d: %v takes %d of %+v with %v: the model says %t, the pool %v", seed, step, key, n, conf, m.held, may, err)
				}
				if may {
					m.held[key] += n
				}
			}
			if p.Used() > conf.Limit || h.Held() != m.held[key] {
				t.Fatalf("seed %d, step %d: %d in use of %d, %v has %d", seed, step, p.Used(), conf.Limit, key, h.Held())
			}
			late := p.Holder(Key{Name: "late"})
			if free := conf.Limit - p.Used(); free > 1 && late.Take(1) != nil {
				t.Fatalf("seed %d, step %d: %d are free and a holder with nothing gets none", seed, step, free)
			} else if free > 1 {
				late.Give(1)
			}
			late.Release()
		}
	}
}
