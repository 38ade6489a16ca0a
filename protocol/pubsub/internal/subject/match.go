package subject

import "strings"

// Match reports whether a valid pattern matches a valid name. If either is invalid, the
// result has no meaning.
func Match(pattern, name string) bool {
	matches, _ := compare(pattern, name)
	return matches
}

// Meets reports whether a valid pattern matches a valid name, or can match a name that has more
// tokens after it. These are the names that a publisher of the name may publish to.
func Meets(pattern, name string) bool {
	matches, below := compare(pattern, name)
	return matches || below
}

// compare reports whether a pattern matches a name, and otherwise whether the name ends where
// the pattern goes on.
func compare(pattern, name string) (matches, below bool) {
	for first := true; ; first = false {
		p, ps, pmore := strings.Cut(pattern, ".")
		n, ns, nmore := strings.Cut(name, ".")
		own := first && n == Reserved
		switch {
		case p == rest:
			return !own, false
		case p == one:
			if own {
				return false, false
			}
		case p != n:
			return false, false
		}
		if !pmore || !nmore {
			return pmore == nmore, pmore && !nmore
		}
		pattern, name = ps, ns
	}
}

// Covers reports whether every name that the valid pattern b matches is matched by
// the valid pattern a. It is exact: names that are too long to be valid do not count.
func Covers(a, b string) bool {
	// used is how many bytes the shortest name that b matches has up to here.
	used := 0
	for i := 0; ; i++ {
		x, xs, xmore := strings.Cut(a, ".")
		y, ys, ymore := strings.Cut(b, ".")
		// Without room for a second token, ">" stands for exactly one.
		if y == rest && (i == MaxTokens-1 || used+len("x.y") > MaxBytes) {
			y = one
		}
		own := i == 0 && y == Reserved
		switch {
		case x == rest:
			return !own
		case y == rest:
			// b goes on with one token or with two. a has a fixed length here, or goes on with
			// at least two.
			return false
		case x == one:
			if own {
				return false
			}
		case x != y:
			return false
		}
		if !xmore || !ymore {
			return xmore == ymore
		}
		used += len(y) + 1
		a, b = xs, ys
	}
}
