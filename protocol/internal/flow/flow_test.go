package flow_test

import (
	"slices"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// granted notes what is granted, as frames and bytes in turn.
type granted []int

func (g *granted) Grant(frames, bytes int) error {
	*g = append(*g, frames, bytes)
	return nil
}

// TestCreditIsGrantedInFewFrames checks when the credit of read frames is granted again.
func TestCreditIsGrantedInFewFrames(t *testing.T) {
	const credit = 1 << 10
	count := func(frames, bytes int, more bool) func(f *flow.Credit) error {
		return func(f *flow.Credit) error { return f.Count(frames, bytes, more) }
	}
	read := func(credited bool, bytes int) func(f *flow.Credit) error {
		return func(f *flow.Credit) error { return f.Read(link.Frame{Credited: credited, Body: make([]byte, bytes)}) }
	}
	for name, c := range map[string]struct {
		does []func(f *flow.Credit) error
		want []int
	}{
		"a quarter of the frames":                 {slices.Repeat([]func(f *flow.Credit) error{read(true, 1)}, flow.Frames/4+1), []int{flow.Frames / 4, flow.Frames / 4}},
		"a quarter of the bytes":                  {[]func(f *flow.Credit) error{read(true, credit/4-1), read(true, 1), read(true, 1)}, []int{2, credit / 4}},
		"frames without credit":                   {slices.Repeat([]func(f *flow.Credit) error{read(false, credit)}, flow.Frames), nil},
		"nothing more to read":                    {[]func(f *flow.Credit) error{count(1, 3, true), count(1, 4, false), count(1, 5, true)}, []int{2, 7}},
		"nothing more, behind one without":        {[]func(f *flow.Credit) error{count(1, 3, true), count(0, 0, false)}, []int{1, 3}},
		"nothing to read and nothing to grant":    {[]func(f *flow.Credit) error{count(0, 0, false)}, nil},
		"more to read, and a quarter was reached": {[]func(f *flow.Credit) error{count(1, credit/4, true)}, []int{1, credit / 4}},
	} {
		t.Run(name, func(t *testing.T) {
			var got granted
			grants := flow.Credit{Stream: &got, Credit: credit}
			for _, do := range c.does {
				if err := do(&grants); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal([]int(got), c.want) {
				t.Errorf("it granted %v, want %v", got, c.want)
			}
		})
	}
}
