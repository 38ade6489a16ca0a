package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// errRulesChanged cancels requests that wait for the agent, so that the rules are applied again.
var errRulesChanged = errors.New("the faults have changed")

// Answer is the answer that a client gets.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// serve answers one request and records it.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	answer, name, err := p.answer(r, body)
	record := Request{
		At: begin, Took: time.Since(begin), Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(),
		Fault: name, Err: err,
	}
	if answer != nil {
		record.Status = answer.Status
	}
	p.record(record)
	if answer == nil {
		// The server closes the connection without an answer.
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header)
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.Body)))
	}
	w.WriteHeader(answer.Status)
	// Write fails if the client is gone.
	_, _ = w.Write(answer.Body)
}

// answer returns the answer for the client, nil if none, and the name of the fault in force. With a
// fault it asks the agent for the current state instead of a change, so that the fault takes effect
// at once.
func (p *Proxy) answer(r *http.Request, body []byte) (*Answer, string, error) {
	for {
		rule, change := p.rule(r)
		ctx, release := until(r.Context(), change)
		name := ""
		var answer *Answer
		var err error
		if rule == nil {
			answer, err = p.forward(ctx, r, r.URL.Query(), body)
		} else {
			name = rule.fault.name
			query := r.URL.Query()
			query.Del("index")
			query.Del("wait")
			answer, err = rule.fault.answer(ctx, func() (*Answer, error) { return p.forward(ctx, r, query, body) })
		}
		again := errors.Is(context.Cause(ctx), errRulesChanged) && r.Context().Err() == nil
		release()
		if err == nil || !again {
			return answer, name, err
		}
	}
}

// forward sends the request to the agent, with query as its query, and returns the agent's answer.
func (p *Proxy) forward(ctx context.Context, r *http.Request, query url.Values, body []byte) (*Answer, error) {
	to := *r.URL
	to.Scheme, to.Host, to.RawQuery = p.target.Scheme, p.target.Host, query.Encode()
	out, err := http.NewRequestWithContext(ctx, r.Method, to.String(), bytes.NewReader(body)) //nolint:gosec // passing on is what it does
	if err != nil {
		return nil, err
	}
	out.Header = r.Header.Clone()
	out.Header.Del("Accept-Encoding")
	in, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer in.Body.Close()
	text, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	header := in.Header.Clone()
	header.Del("Content-Length")
	return &Answer{Status: in.StatusCode, Header: header, Body: text}, nil
}

// Request is one request that the proxy has answered, or whose client has gone.
type Request struct {
	// At is when the request arrived.
	At     time.Time
	Took   time.Duration
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	// Status is the status of the answer, 0 if there was none.
	Status int
	// Fault is the name of the fault in force, "" if there was none.
	Fault string
	// Err is the reason why there was no answer.
	Err error
}

// Blocking reports whether the request asked the agent to wait for a change.
func (r Request) Blocking() bool { return r.Query.Get("index") != "" && r.Query.Get("index") != "0" }
