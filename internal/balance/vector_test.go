package balance

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func elements[E any](v vector[E]) []E {
	out := make([]E, v.n)
	for i := range out {
		out[i] = *v.at(i)
	}
	return out
}

func TestASharedVectorNeverChanges(t *testing.T) {
	var w editor[int]
	var model []int
	type snapshot struct {
		v    vector[int]
		want []int
	}
	var shared []snapshot
	for step := range 20_000 {
		switch op := rand.IntN(10); {
		case op < 4 || len(model) == 0:
			w.push(step)
			model = append(model, step)
		case op < 7 && len(model) > step%300:
			w.pop()
			model = model[:len(model)-1]
		case op < 9:
			i := rand.IntN(len(model))
			w.set(i, -step)
			model[i] = -step
		default:
			shared = append(shared, snapshot{w.share(), slices.Clone(model)})
		}
	}
	for _, s := range shared {
		if !slices.Equal(elements(s.v), s.want) {
			t.Fatal("a snapshot changed")
		}
	}
	if !slices.Equal(elements(w.vector), model) {
		t.Fatal("the editor is wrong")
	}
}

func TestASnapshotSharesWhatDidNotChange(t *testing.T) {
	var w editor[int]
	for i := range 10 * chunkSize {
		w.push(i)
	}
	before := w.share()
	w.set(3*chunkSize+1, -1)
	after := w.share()
	for c := range before.chunks {
		if same := before.chunks[c] == after.chunks[c]; same == (c == 3) {
			t.Errorf("chunk %d: shared %v", c, same)
		}
	}
}

func TestAPopLeavesNoReference(t *testing.T) {
	var w editor[*int]
	w.push(new(int))
	w.push(new(int))
	w.pop()
	if w.chunks[0][1] != nil {
		t.Fatal("the chunk still holds it")
	}
}
