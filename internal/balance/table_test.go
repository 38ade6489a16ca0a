package balance

import "testing"

func TestATableIsTheWholeSetOfItsLastUpdate(t *testing.T) {
	var table Table[int]
	if _, ok := table.Pick(0, nil); ok {
		t.Fatal("picked from nothing")
	}
	if removed := table.Update(items(3)); removed != nil {
		t.Fatalf("the first update removed %v", removed)
	}
	before, _ := table.Lookup("1")
	removed := table.Update(append(items(4)[1:], Item[int]{Key: "1", Value: 9}))
	if len(removed) != 1 || removed[0].Key() != "0" {
		t.Fatalf("removed %v, want the endpoint of 0", removed)
	}
	if after, _ := table.Lookup("1"); after != before {
		t.Fatal("of duplicate keys the first stands")
	}
	if after, _ := table.Lookup("3"); after.Share(0) != 1 {
		t.Fatal("a table starts nobody slowly")
	}
	fail(before, 100, 0)
	if _, ejected := before.Ejected(0); ejected {
		t.Fatal("a table ejects nobody")
	}
	if _, ok := table.Pick(0, nil); !ok {
		t.Fatal("nothing picked")
	}
	table.Update(nil)
	if _, ok := table.Pick(0, nil); ok {
		t.Fatal("picked from an empty table")
	}
}
