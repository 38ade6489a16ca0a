// Package subject is the algebra of topic names and the patterns that select them.
//
// # Overview
//
// A name is one or more tokens joined by dots: "orders.eu.placed". A pattern is a
// name in which a token may be "*", which stands for exactly one token, and the last
// may be ">", which stands for one or more. It is the algebra of NATS subjects.
//
// [Match] decides for one pattern and one name. [Index] finds all patterns of a set
// that match a name. [Covers] decides whether one pattern allows everything that another
// pattern asks for, as an authorization rule must.
//
// # Guarantees
//
// Names and patterns have at most [MaxBytes] bytes and [MaxTokens] tokens, so that no
// call here takes long. Matching compares bytes: names that look alike but differ in
// their encoding are different names.
//
// Names whose first token is [Reserved] belong to link. A wildcard in the first place
// does not match that token, so that a pattern for everything selects none of link's
// names. A pattern must spell the token out.
//
// # Concurrency
//
// All functions are safe for concurrent use. For [Index] see its own documentation.
package subject

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of names and patterns.
const (
	MaxBytes  = 255
	MaxTokens = 32
)

// Reserved is the first token of names that users cannot use.
const Reserved = "_link"

const (
	one  = "*" // any one token
	rest = ">" // one or more tokens, last only
)

// ErrReserved is what [Error] unwraps to when a name or pattern is well formed and
// starts with the token [Reserved].
var ErrReserved = errors.New("the token " + Reserved + " is reserved")

// Error says what is wrong with a name or a pattern.
type Error struct {
	// Subject is the name or pattern as given, cut to MaxBytes.
	Subject string
	Problem string
	reason  error
}

func (e *Error) Error() string { return fmt.Sprintf("%q: %s", e.Subject, e.Problem) }

// Unwrap returns [ErrReserved] or nil.
func (e *Error) Unwrap() error { return e.reason }

// Valid returns nil if a user may publish under the name. The error is an [*Error]. If it
// wraps [ErrReserved], the name has no other fault.
func Valid(name string) error { return check(name, false) }

// ValidPattern returns nil if a user may subscribe to the pattern. The errors are the same
// as for [Valid].
func ValidPattern(pattern string) error { return check(pattern, true) }

func check(s string, pattern bool) error {
	bad := func(format string, args ...any) error {
		return &Error{Subject: s[:min(len(s), MaxBytes)], Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case s == "":
		return bad("is empty")
	case len(s) > MaxBytes:
		return bad("has %d bytes, at most %d are allowed", len(s), MaxBytes)
	case !utf8.ValidString(s):
		return bad("is not UTF-8")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }); i >= 0 {
		return bad("has a space or control character at byte %d", i)
	}
	tokens := 0
	for tail, more := s, true; more; {
		var token string
		token, tail, more = strings.Cut(tail, ".")
		tokens++
		switch wild := strings.ContainsAny(token, one+rest); {
		case token == "":
			return bad("token %d is empty", tokens)
		case wild && !pattern:
			return bad("token %d has a wildcard, which only patterns may have", tokens)
		case wild && len(token) > 1:
			return bad("token %d mixes a wildcard with other characters; a wildcard stands alone between dots", tokens)
		case token == rest && more:
			return bad("%q is only allowed as the last token", rest)
		}
	}
	if tokens > MaxTokens {
		return bad("has %d tokens, at most %d are allowed", tokens, MaxTokens)
	}
	if first, _, _ := strings.Cut(s, "."); first == Reserved {
		return &Error{Subject: s, Problem: ErrReserved.Error(), reason: ErrReserved}
	}
	return nil
}
