// Package errtext writes the fields, values and lists in errors about topology documents. It stands apart so that
// package topology, which checks one document, and package policy, which checks several together, name a field alike:
// by its name a field is found in the text of the document.
package errtext

import (
	"strconv"
	"strings"
)

// MaxShown is how many bytes of a value errors repeat.
const MaxShown = 64

// Quote returns a value in quotes, and only its beginning if it is long.
func Quote(s string) string {
	if len(s) > MaxShown {
		return strconv.Quote(strings.ToValidUTF8(s[:MaxShown], "") + "…")
	}
	return strconv.Quote(s)
}

// Path returns the path of the field key within the field at path: "services.orders".
func Path(path, key string) string {
	for i := range len(key) {
		if c := key[i]; !Alphanumeric(c) && c != '_' && c != '-' && c != '.' {
			key = Quote(key)
			break
		}
	}
	if len(key) > MaxShown {
		key = Quote(key)
	}
	switch {
	case key == "":
		return path + `[""]`
	case path == "":
		return key
	case key[0] == '"':
		return path + "[" + key + "]"
	}
	return path + "." + key
}

// List returns "a, b and c" for the conjunction "and".
func List(words []string, conjunction string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " " + conjunction + " " + words[last]
}

// Alphanumeric reports whether c is a letter or digit of ASCII.
func Alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
