package consul

import (
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/bounds"
)

// members parses text such as "a b@node" into members, in the given order.
func members(text string) []member {
	var all []member
	for word := range strings.FieldsSeq(text) {
		id, node, _ := strings.Cut(word, "@")
		all = append(all, member{Instance: instance(id).Normalized(), node: node})
	}
	return all
}

func TestWhatIsBelieved(t *testing.T) {
	type step struct {
		after time.Duration
		// fail means that the agent is unreachable.
		fail     bool
		answer   string
		signs    signs
		believed bool
	}
	back, headless, veiled := signs{backwards: true}, signs{leaderless: true}, signs{hidden: true}
	for name, steps := range map[string][]step{
		"the first answer": {{answer: "", believed: true}},
		"growth, whatever the signs": {
			{answer: "a", believed: true},
			{answer: "a b", signs: back, believed: true},
			{answer: "a b c", signs: headless, believed: true},
		},
		"sudden emptiness of a sound registry": {{answer: "a b c d", believed: true}, {answer: "", believed: true}},
		"one that moves to another node":       {{answer: "a@n1", believed: true}, {answer: "a@n2", believed: true}},
		"loss with a lower index, after a while": {
			{answer: "a b", believed: true},
			{answer: "a", signs: back},
			{after: doubtTime - 1, answer: "a"},
			{after: 1, answer: "a", believed: true},
		},
		"loss that was made up for": {
			{answer: "a b", believed: true},
			{answer: "a", signs: back},
			{after: time.Second, answer: "a b", believed: true},
			{after: time.Hour, answer: "a", believed: true},
		},
		"each lower index begins anew": {
			{answer: "a b", believed: true},
			{answer: "a", signs: back},
			{after: doubtTime - 1, answer: "a", signs: back},
			{after: doubtTime - 1, answer: "a"},
			{after: 1, answer: "a", believed: true},
		},
		"loss without a leader, never": {
			{answer: "a b", believed: true},
			{after: time.Hour, answer: "a", signs: headless},
			{after: time.Hour, answer: "a", signs: headless},
			{after: doubtTime - 1, answer: "a"},
			{after: 1, answer: "a", believed: true},
		},
		"what is hidden, never": {
			{answer: "a b", believed: true},
			{after: time.Hour, answer: "", signs: veiled},
			{after: time.Hour, answer: "a b", signs: veiled},
		},
		"most gone after the agent was away": {
			{answer: "a b c", believed: true},
			{fail: true},
			{answer: "a"},
			{after: doubtTime, answer: "a", believed: true},
		},
		"half gone after the agent was away": {
			{answer: "a b", believed: true},
			{fail: true},
			{answer: "a", believed: true},
		},
		"away again while in doubt": {
			{answer: "a b c", believed: true},
			{fail: true},
			{answer: ""},
			{after: doubtTime - 1, fail: true},
			{after: 1, answer: ""},
			{after: doubtTime - 1, answer: "", believed: true},
		},
	} {
		var k keeper
		now := time.Unix(1_700_000_000, 0)
		for i, s := range steps {
			now = now.Add(s.after)
			if s.fail {
				k.shake(now)
				continue
			}
			v := k.judge(members(s.answer), s.signs, now)
			if v.believed != s.believed || (v.why == "") != v.believed {
				t.Errorf("%s, step %d: %+v", name, i+1, v)
			}
			if v.believed && !k.at.Equal(now) {
				t.Errorf("%s, step %d: At %v, want %v", name, i+1, k.at, now)
			}
			if v.recheck < 0 || v.recheck > doubtTime {
				t.Errorf("%s, step %d: recheck in %v", name, i+1, v.recheck)
			}
		}
	}
}

func TestWhatIsHeldStandsBesideWhatIsNew(t *testing.T) {
	k := keeper{known: members("a b c")}
	fresh := members("b d")
	fresh[0].Weight = 7
	got := k.with(fresh)
	if len(got) != 4 || got[0].ID != "a" || got[1].Weight != 7 || got[2].ID != "c" || got[3].ID != "d" {
		t.Errorf("got %+v", got)
	}
	if len(fresh) != 2 || len(k.known) != 3 {
		t.Error("what was given has changed")
	}
}

func TestInstancesOfOneIDAreAllDelivered(t *testing.T) {
	long := strings.Repeat("x", bounds.MaxID)
	parts := [][]member{members("a@n1 a@n2 b@n1 " + long + "@n1 " + long + "@n2"), members("a@n2 b@n1 c@n9")}
	parts[0][0].created, parts[0][1].created = 9, 5
	first, _ := merge(parts)
	var ids []string
	for _, in := range first {
		ids = append(ids, in.ID)
		if err := in.Validate(); err != nil {
			t.Error(err)
		}
	}
	text := strings.Join(ids, " ")
	if len(ids) != 6 || ids[0] != "a" || !strings.HasPrefix(ids[1], "a-") || ids[2] != "b" || ids[3] != "c" || strings.Count(text, long) != 1 {
		t.Errorf("got %s", text)
	}
	if parts[0][0].ID != "a" {
		t.Error("what was given has changed")
	}
	// The new IDs of duplicates do not depend on the other instances.
	second, _ := merge([][]member{parts[0][:2]})
	if second[1].ID != ids[1] {
		t.Errorf("%s became %s", ids[1], second[1].ID)
	}
}

func TestTheMergedListIsBounded(t *testing.T) {
	var own, far []member
	for i := range bounds.MaxInstances {
		m := members("x")[0]
		m.ID = "a" + strings.Repeat("z", i%50) + "-" + time.Duration(i).String()
		own = append(own, m)
	}
	far = members("b c")
	all, over := merge([][]member{own, far})
	if len(all) != bounds.MaxInstances || over != 2 {
		t.Errorf("%d instances and %d over", len(all), over)
	}
	for _, in := range all {
		if in.ID == "b" {
			t.Error("an instance of the own datacenter was left out for a far one")
		}
	}
}
