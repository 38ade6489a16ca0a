package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// errDropped says that a fault closed the connection.
var errDropped = errors.New("dropped")

// Fault is a way in which an answer is wrong.
type Fault struct {
	name   string
	answer func(ctx context.Context, ask func() (*Answer, error)) (*Answer, error)
}

// String returns what the fault is called.
func (f Fault) String() string { return f.name }

// instead answers without the agent.
func instead(name string, a Answer) Fault {
	return Fault{name, func(context.Context, func() (*Answer, error)) (*Answer, error) { return &a, nil }}
}

// Change lets the agent answer and changes that.
func Change(name string, change func(*Answer)) Fault {
	return Fault{name, func(_ context.Context, ask func() (*Answer, error)) (*Answer, error) {
		a, err := ask()
		if err == nil {
			change(a)
		}
		return a, err
	}}
}

// Status answers with a status code and Consul's way of saying so.
func Status(code int) Fault {
	return instead("status "+strconv.Itoa(code), Answer{
		Status: code,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		Body:   []byte(http.StatusText(code)),
	})
}

// HTML answers with the page of something else that listens there, as a captive portal does.
func HTML() Fault {
	return instead("HTML", Answer{
		Status: http.StatusOK,
		Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body:   []byte("<!DOCTYPE html><html><body>Please sign in.</body></html>"),
	})
}

// Truncate cuts the agent's answers in half. Nothing but the JSON shows it.
func Truncate() Fault {
	return Change("truncated JSON", func(a *Answer) { a.Body = a.Body[:len(a.Body)/2] })
}

// CutOff promises the whole answer and closes the connection after half of it.
func CutOff() Fault {
	return Change("cut off", func(a *Answer) {
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
	})
}

// Hang never answers, until it is mended.
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

// Delay answers later.
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

// Empty answers that there is nothing, with the agent's headers.
func Empty() Fault {
	return Change("empty answer", func(a *Answer) { a.Body = []byte("[]") })
}

// FilteredByACLs answers as Consul does when the token may not read: nothing, and a header.
func FilteredByACLs() Fault {
	return Change("filtered by ACLs", func(a *Answer) {
		a.Body = []byte("[]")
		a.Header.Set("X-Consul-Results-Filtered-By-Acls", "true")
	})
}

// indexHeader is where Consul says which state an answer shows.
const indexHeader = "X-Consul-Index"

// Index rewrites the index of the answers.
func Index(name string, next func(index uint64) uint64) Fault {
	return Change(name, func(a *Answer) {
		if index, err := strconv.ParseUint(a.Header.Get(indexHeader), 10, 64); err == nil {
			a.Header.Set(indexHeader, strconv.FormatUint(next(index), 10))
		}
	})
}

// IndexBackwards makes the index lower than any the agent gave before.
func IndexBackwards() Fault {
	return Index("index backwards", func(index uint64) uint64 { return max(index/2, 1) })
}
