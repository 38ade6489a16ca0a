package balance

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

func items(n int) []Item[int] {
	out := make([]Item[int], n)
	for i := range out {
		out[i] = Item[int]{Key: strconv.Itoa(i), Value: i}
	}
	return out
}

func TestStateSurvivesUpdates(t *testing.T) {
	var table Table[int]
	if removed := table.Update(items(3)); removed != nil {
		t.Fatalf("the first update removed %v", removed)
	}
	before, _ := table.Lookup("1")
	before.Begin()
	before.Begin()
	before.End(0, int64(time.Second), false)

	changed := items(4)[1:]
	changed[0].Value, changed[0].Weight = 100, 5
	removed := table.Update(changed)
	if len(removed) != 1 || removed[0].Key() != "0" {
		t.Fatalf("removed %v, want the endpoint of 0", removed)
	}
	after, ok := table.Lookup("1")
	if !ok || after == before {
		t.Fatal("a changed value must make a new endpoint")
	}
	if after.Value() != 100 || after.Weight() != 5 || before.Value() != 1 || before.Weight() != 1 {
		t.Fatalf("values %d, %d; weights %d, %d", before.Value(), after.Value(), before.Weight(), after.Weight())
	}
	if after.InFlight() != 1 || after.Latency(int64(time.Second)) != time.Second {
		t.Fatalf("in flight %d, latency %v: the load was lost", after.InFlight(), after.Latency(int64(time.Second)))
	}
	before.Abandon()
	if after.InFlight() != 0 {
		t.Fatal("a call begun on the old endpoint must end on the new one")
	}
	var tried Tried[int]
	tried.Add(before)
	if !tried.Has(after) {
		t.Fatal("what was tried before the update must stay tried")
	}
	if _, ok := table.Lookup("0"); ok {
		t.Fatal("a removed key is still known")
	}
}

func TestAnUnchangedItemKeepsItsEndpoint(t *testing.T) {
	var table Table[int]
	table.Update(items(3))
	before, _ := table.Lookup("2")
	table.Update(items(5)[2:])
	after, _ := table.Lookup("2")
	if before != after {
		t.Fatal("the endpoint was replaced")
	}
	if got := table.Picker().Len(); got != 3 {
		t.Fatalf("Len = %d, want 3", got)
	}
}

func TestAReturningInstanceStartsAfresh(t *testing.T) {
	var table Table[int]
	table.Update(items(1))
	e, _ := table.Lookup("0")
	e.Begin()
	table.Update(nil)
	if _, ok := table.Pick(0, nil); ok {
		t.Fatal("picked from an empty table")
	}
	table.Update(items(1))
	if e, _ := table.Lookup("0"); e.InFlight() != 0 {
		t.Fatal("load outlived its instance")
	}
}

func TestOfDuplicateKeysTheFirstStands(t *testing.T) {
	var table Table[int]
	table.Update([]Item[int]{{Key: "a", Value: 1}, {Key: "b", Value: 2}, {Key: "a", Value: 3}})
	if got := table.Picker().Len(); got != 2 {
		t.Fatalf("Len = %d, want 2", got)
	}
	if e := table.Picker().At(0); e.Key() != "a" || e.Value() != 1 {
		t.Fatalf("first endpoint is %s=%d", e.Key(), e.Value())
	}
	removed := table.Update([]Item[int]{{Key: "a", Value: 1}, {Key: "a", Value: 3}})
	if len(removed) != 1 || removed[0].Key() != "b" {
		t.Fatalf("removed %v, want b", removed)
	}
}

func TestAnUpdateThatChangesNothingAllocatesNothing(t *testing.T) {
	var table Table[int]
	same := items(100)
	table.Update(same)
	before := table.Picker()
	if got := testing.AllocsPerRun(10, func() { table.Update(same) }); got != 0 {
		t.Fatalf("allocates %v times, want 0", got)
	}
	if table.Picker() != before {
		t.Fatal("the snapshot was replaced")
	}
}

func TestAnUpdateAllocatesForWhatChanged(t *testing.T) {
	var table Table[int]
	set := items(10000)
	table.Update(set)
	value := 1 << 20
	got := testing.AllocsPerRun(10, func() {
		value++
		set[5000].Value = value
		table.Update(set)
	})
	if got > 10 {
		t.Fatalf("changing one of 10000 allocates %v times, want a handful", got)
	}
}

func TestPicksRunBesideUpdates(t *testing.T) {
	var table Table[int]
	table.Update(items(10))
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for now := range int64(5000) {
				var tried Tried[int]
				for range 2 {
					e, ok := table.Pick(now*int64(Resolution), &tried)
					if !ok {
						t.Error("an endpoint is always there")
						return
					}
					e.Begin()
					tried.Add(e)
					e.End(now, now*int64(Resolution), now%3 == 0)
				}
			}
		})
	}
	calls.Go(func() {
		for i := range 500 {
			table.Update(items(5 + i%6))
		}
	})
	calls.Wait()
	table.Update(items(5))
	for i := range table.Picker().Len() {
		if e := table.Picker().At(i); e.InFlight() != 0 {
			t.Fatalf("endpoint %s has %d calls in flight at the end", e.Key(), e.InFlight())
		}
	}
}
