package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// errDropped reports that a fault closed the connection.
var errDropped = errors.New("dropped")

// Fault is a way to spoil an answer.
type Fault struct {
	name   string
	answer func(ctx context.Context, ask func() (*Answer, error)) (*Answer, error)
}

// String returns the name of the fault.
func (f Fault) String() string { return f.name }

// instead returns a fault that answers with a and does not ask the agent.
func instead(name string, a Answer) Fault {
	return Fault{name, func(context.Context, func() (*Answer, error)) (*Answer, error) { return &a, nil }}
}

// Change returns a fault that lets the agent answer and modifies the answer with change.
func Change(name string, change func(*Answer)) Fault {
	return Fault{name, func(_ context.Context, ask func() (*Answer, error)) (*Answer, error) {
		a, err := ask()
		if err == nil {
			change(a)
		}
		return a, err
	}}
}

// Status answers with a status code and its text as the body, as Consul does.
func Status(code int) Fault {
	return instead("status "+strconv.Itoa(code), Answer{
		Status: code,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		Body:   []byte(http.StatusText(code)),
	})
}

// HTML answers with an HTML page, as a captive portal does.
func HTML() Fault {
	return instead("HTML", Answer{
		Status: http.StatusOK,
		Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body:   []byte("<!DOCTYPE html><html><body>Please sign in.</body></html>"),
	})
}

// Truncate cuts the agent's answers in half. Only the invalid JSON reveals it.
func Truncate() Fault {
	return Change("truncated JSON", func(a *Answer) { a.Body = a.Body[:len(a.Body)/2] })
}

// CutOff announces the length of the whole answer and closes the connection after half of it.
func CutOff() Fault {
	return Change("cut off", func(a *Answer) {
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
	})
}

// Hang does not answer until it is mended.
func Hang() Fault {
	return Fault{"hang", func(ctx context.Context, _ func() (*Answer, error)) (*Answer, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
}

// Drop closes the connection without an answer.
func Drop() Fault {
	return Fault{"drop", func(context.Context, func() (*Answer, error)) (*Answer, error) { return nil, errDropped }}
}

// Delay holds the agent's answer back for d.
func Delay(d time.Duration) Fault {
	return Fault{fmt.Sprintf("delay of %v", d), func(ctx context.Context, ask func() (*Answer, error)) (*Answer, error) {
		a, err := ask()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return a, err
	}}
}

// Empty answers with an empty list and the agent's headers.
func Empty() Fault {
	return Change("empty answer", func(a *Answer) { a.Body = []byte("[]") })
}

// FilteredByACLs answers as Consul does when the token may not read: an empty list and a header.
func FilteredByACLs() Fault {
	return Change("filtered by ACLs", func(a *Answer) {
		a.Body = []byte("[]")
		a.Header.Set("X-Consul-Results-Filtered-By-Acls", "true")
	})
}

// indexHeader is the header with the index of the state that an answer shows.
const indexHeader = "X-Consul-Index"

// Index rewrites the index of the answers with next.
func Index(name string, next func(index uint64) uint64) Fault {
	return Change(name, func(a *Answer) {
		if index, err := strconv.ParseUint(a.Header.Get(indexHeader), 10, 64); err == nil {
			a.Header.Set(indexHeader, strconv.FormatUint(next(index), 10))
		}
	})
}

// IndexBackwards halves the index, so that it seems to go backwards.
func IndexBackwards() Fault {
	return Index("index backwards", func(index uint64) uint64 { return max(index/2, 1) })
}
