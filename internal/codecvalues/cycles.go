// Package codecvalues has the types and values that tests of codecs use.
package codecvalues

// Person is a node of a tree whose children refer to their parents.
type Person struct {
	Name     string    `json:"name"`
	Parent   *Person   `json:"parent"`
	Children []*Person `json:"children"`
}

type (
	ring  struct{ Next *ring }
	lists []lists
	maps  map[string]maps
	holds struct{ Any any }
	outer struct{ *inner }
	inner struct{ Back *outer }
)

// Cycles returns values that contain themselves, each in a different way. The keys describe them.
func Cycles() map[string]any {
	person := &Person{Name: "parent"}
	person.Children = []*Person{{Name: "child", Parent: person}}
	one := &ring{}
	one.Next = &ring{one}
	list := make(lists, 1)
	list[0] = list
	mapping := maps{}
	mapping["self"] = mapping
	anys := []any{1, nil}
	anys[1] = anys
	attributes := map[string]any{}
	attributes["self"] = map[string]any{"again": attributes}
	var pointer any
	pointer = &pointer
	held := &holds{}
	held.Any = []any{held}
	embedded := &outer{&inner{}}
	embedded.Back = embedded
	return map[string]any{
		"a tree that knows its parents": person, "a ring of pointers": one, "a list in itself": list, "a map in itself": mapping,
		"a list of any in itself": anys, "maps of any in each other": attributes, "an interface that points to itself": pointer,
		"a struct behind an interface": held, "a struct behind an embedded one": embedded,
		"a list of them": []*Person{{Name: "harmless"}, person}, "a map of them": map[string]*Person{"p": person},
	}
}
