// Package errtext makes errors that have the words of a back end and match an error of another package.
package errtext

// New returns an error that has exactly this text and wraps is.
func New(text string, is error) error { return &textError{text, is} }

type textError struct {
	text string
	is   error
}

func (e *textError) Error() string { return e.text }

func (e *textError) Unwrap() error { return e.is }
