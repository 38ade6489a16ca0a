package reqrep_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// fails starts a server whose handler returns err, calls it, and returns the error that the caller gets.
func fails(t *testing.T, mesh *linktest.Mesh, cfg link.Config, err error) *link.Error {
	t.Helper()
	serve(mesh, cfg, func(context.Context, query) (answer, error) { return answer{"lost"}, err })
	got, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{})
	var e *link.Error
	if !errors.As(err, &e) || got != (answer{}) {
		t.Fatalf("got %+v, %v, want nothing and a *link.Error", got, err)
	}
	return e
}

func TestEveryCodeCrossesTheWire(t *testing.T) {
	for code := link.Canceled; code <= link.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				local := link.Errorf(code, "message of %d", code)
				if !errors.Is(local, code) {
					t.Errorf("errors.Is(%v, %v) is false where it was made", local, code)
				}
				err := fails(t, mesh, link.Config{}, local)
				if err.Code != code || !err.Remote || err.Message != fmt.Sprintf("message of %d", code) || err.ID != "" {
					t.Errorf("got %+v", err)
				}
				for other := link.Canceled; other <= link.Unauthenticated; other++ {
					if errors.Is(err, other) != (other == code) {
						t.Errorf("errors.Is(%v, %v) is %v", err, other, other != code)
					}
				}
				if err.Op != "call orders/change" || !strings.Contains(err.Peer, "10.0.0.1:7443") {
					t.Errorf("error %q does not name the call and the peer", err)
				}
				if errors.Is(err, context.DeadlineExceeded) != (code == link.DeadlineExceeded) || errors.Is(err, context.Canceled) != (code == link.Canceled) {
					t.Errorf("%v is wrongly told apart from the errors of package context", err)
				}
			})
		})
	}
}

// TestErrorCrossesServices sends an error through a node that is server and
// client at once.
func TestErrorCrossesServices(t *testing.T) {
	front := reqrep.NewMethod[query, answer]("front", "get", link.Unsafe)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		serve(mesh, link.Config{}, func(context.Context, query) (answer, error) {
			return answer{}, link.Errorf(link.NotFound, "no such order")
		})
		node := mesh.Node(link.Config{Service: "front"})
		reqrep.Handle(node, front, func(ctx context.Context, q query) (answer, error) {
			return reqrep.Call(ctx, node, unsafeMethod, q)
		})
		mesh.Start(node)
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), front, query{})
		if !errors.Is(err, link.NotFound) || strings.Count(err.Error(), "no such order") != 1 {
			t.Errorf("got %v", err)
		}
	})
}

var errSecret = errors.New("password is hunter2")

type wrapped struct{ err error }

func (w wrapped) Error() string { return "while looking: " + w.err.Error() }
func (w wrapped) Unwrap() error { return w.err }

func TestWhatOfAnErrorTheCallerSees(t *testing.T) {
	coded := link.Errorf(link.NotFound, "no order")
	for _, tt := range []struct {
		name    string
		err     error
		code    link.Code
		message string
		logged  bool
	}{
		{"bare code", link.NotFound, link.NotFound, "not found", false},
		{"wrapped code", fmt.Errorf("looking: %w", link.NotFound), link.NotFound, "not found", false},
		{"wrapped error", wrapped{coded}, link.NotFound, "no order", false},
		{"code out of range", link.Code(99), link.Unknown, "unknown", false},
		{"zero code", &link.Error{Message: "odd"}, link.Unknown, "odd", false},
		{"no code", errSecret, link.Internal, "the handler failed", true},
		{"no code, wrapped", fmt.Errorf("looking: %w", errSecret), link.Internal, "the handler failed", true},
		{"context deadline", fmt.Errorf("query: %w", context.DeadlineExceeded), link.DeadlineExceeded, "the deadline of the call has passed", false},
		{"cause of a deadline", link.ErrDeadline, link.DeadlineExceeded, "the deadline of the call has passed", false},
		{"cause of a caller that is gone", link.ErrCallerGone, link.Canceled, "the handler was canceled", false},
		{"context canceled", context.Canceled, link.Canceled, "the handler was canceled", false},
		{"invalid text", link.Errorf(link.Aborted, "a\xffb"), link.Aborted, "a\uFFFDb", false},
		{"long text", link.Errorf(link.Aborted, "%s", strings.Repeat("x", 64<<10)), link.Aborted, strings.Repeat("x", 4<<10), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var log logBuffer
				err := fails(t, mesh, link.Config{Logger: log.logger()}, tt.err)
				if err.Code != tt.code || err.Message != tt.message || !err.Remote {
					t.Errorf("got code %v and %.100q, want %v and %.100q", err.Code, err.Message, tt.code, tt.message)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the secret reached the caller: %v", err)
				}
				switch text := log.String(); {
				case tt.logged && (err.ID == "" || !strings.Contains(text, err.ID) || !strings.Contains(text, "hunter2") || !strings.Contains(text, "orders/change")):
					t.Errorf("the log has no entry for error ID %q:\n%s", err.ID, text)
				case tt.logged && !strings.Contains(err.Error(), err.ID):
					t.Errorf("error %q does not show its ID", err)
				case !tt.logged && (err.ID != "" || strings.Contains(text, "level=ERROR")):
					t.Errorf("an error with a code has ID %q and is logged:\n%s", err.ID, text)
				}
			})
		})
	}
}

func TestCauseStaysOnItsSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		local := link.Errorf(link.FailedPrecondition, "no session: %w", errSecret)
		if !errors.Is(local, errSecret) {
			t.Error("the cause is lost where the error was made")
		}
		err := fails(t, mesh, link.Config{}, &link.Error{Code: link.FailedPrecondition, Message: "no session", Cause: errSecret})
		if errors.Is(err, errSecret) || err.Cause != nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the cause reached the caller: %v", err)
		}
	})
}

type quotaError struct {
	Limit int
	Who   string
}

func (q quotaError) Error() string { return fmt.Sprintf("%s may have %d", q.Who, q.Limit) }

type shard struct{ Number int }

func TestDetailsCrossTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		local := link.WithDetails(link.Errorf(link.ResourceExhausted, "too much"), quotaError{5, "mallory"}, &shard{3})
		remote := fails(t, mesh, link.Config{}, fmt.Errorf("saving: %w", local))
		for side, err := range map[string]error{"server": local, "client": remote} {
			var quota quotaError
			if !errors.As(err, &quota) {
				t.Errorf("%s: errors.As finds no quotaError in %v", side, err)
			}
			if diff := cmp.Diff(quotaError{5, "mallory"}, quota); diff != "" {
				t.Errorf("%s (-want +got):\n%s", side, diff)
			}
			if got, ok := link.DetailOf[shard](err); !ok || got.Number != 3 {
				t.Errorf("%s: DetailOf[shard] is %+v, %v", side, got, ok)
			}
			if got, ok := link.DetailOf[*shard](err); !ok || got.Number != 3 {
				t.Errorf("%s: DetailOf[*shard] is %+v, %v", side, got, ok)
			}
			if _, ok := link.DetailOf[query](err); ok {
				t.Errorf("%s: a detail is found that nobody added", side)
			}
			if !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("%s: the code is lost: %v", side, err)
			}
		}
	})
}

func TestTooManyDetailsAreCut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		detail any
		count  int
		most   int
	}{
		{"in number", shard{1}, 100, 16},
		{"in size", query{strings.Repeat("x", 3<<10)}, 10, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				details := make([]any, tt.count)
				for i := range details {
					details[i] = tt.detail
				}
				err := fails(t, mesh, link.Config{}, link.WithDetails(link.Aborted, details...))
				if err.Code != link.Aborted || len(err.Details) == 0 || len(err.Details) > tt.most {
					t.Errorf("got %v with %d details, want aborted with 1 to %d", err, len(err.Details), tt.most)
				}
			})
		})
	}
}

func TestRetryAfterCrossesTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		err := fails(t, mesh, link.Config{}, &link.Error{Code: link.Unavailable, Message: "warming up", RetryAfter: 1500 * time.Millisecond})
		if err.RetryAfter != 1500*time.Millisecond {
			t.Errorf("RetryAfter is %v", err.RetryAfter)
		}
	})
}

func TestPanicEndsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var log logBuffer
		serve(mesh, link.Config{Logger: log.logger()}, func(_ context.Context, q query) (answer, error) {
			switch q.Text {
			case "panic":
				panic("kaboom hunter2") //nolint:forbidigo // under test
			case "index":
				_ = q.Text[len(q.Text)]
			}
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		for _, how := range []string{"panic", "index"} {
			_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{how})
			var e *link.Error
			if !errors.As(err, &e) || e.Code != link.Internal || e.ID == "" || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("%s: got %v, want internal with an ID and no more", how, err)
			}
			if text := log.String(); !strings.Contains(text, e.ID) || !strings.Contains(text, "errors_test.go") {
				t.Errorf("%s: the log lacks the ID or the stack:\n%s", how, text)
			}
			if got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fine"}); err != nil || got.Text != "fine" {
				t.Errorf("the call after a panic: %v, %v", got, err)
			}
		}
	})
}
