package topology_test

import (
	"testing"

	"github.com/linkmesh/link/topology"
)

func TestSubsetMatchesAllTagsAndMeta(t *testing.T) {
	s := &topology.Subset{Tags: []string{"v2", "eu"}, Meta: map[string]string{"size": "big"}}
	for _, test := range []struct {
		tags []string
		meta map[string]string
		want bool
	}{
		{[]string{"eu", "v2"}, map[string]string{"size": "big"}, true},
		{[]string{"a", "eu", "f", "v2", "z"}, map[string]string{"size": "big", "more": ""}, true},
		{[]string{"eu"}, map[string]string{"size": "big"}, false},
		{[]string{"eu", "v2"}, map[string]string{"size": "small"}, false},
		{[]string{"eu", "v2"}, nil, false},
		{nil, map[string]string{"size": "big"}, false},
	} {
		if got := s.Matches(test.tags, test.meta); got != test.want {
			t.Errorf("%v %v: %v", test.tags, test.meta, got)
		}
	}
	var every *topology.Subset
	if !every.Matches(nil, nil) {
		t.Error("every instance belongs to the nil subset")
	}
	if same := (&topology.Subset{Tags: []string{"eu", "v2", "eu"}, Meta: map[string]string{"size": "big"}}); !s.Equal(same) || s.Equal(nil) || !every.Equal(nil) {
		t.Error("Equal goes by what matches")
	}
	if s.Equal(&topology.Subset{Tags: []string{"eu"}, Meta: map[string]string{"size": "big"}}) {
		t.Error("a wider subset is Equal")
	}
}
