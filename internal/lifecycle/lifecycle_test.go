package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errStop = errors.New("stopped by the test")

func TestWaitReturnsAfterLastGoroutine(t *testing.T) {
	t.Parallel()
	g := lifecycle.New(t.Context())
	release, ended := make(chan struct{}), make(chan struct{})
	if !g.Go(func(ctx context.Context) {
		<-ctx.Done()
		<-release
		close(ended)
	}) {
		t.Fatal("Go on a fresh group reports false")
	}
	g.Stop(errStop)
	if got := context.Cause(g.Context()); !errors.Is(got, errStop) {
		t.Errorf("cause = %v, want %v", got, errStop)
	}
	if g.Go(func(context.Context) {}) {
		t.Error("Go after Stop reports true")
	}
	close(release)
	g.Wait()
	select {
	case <-ended:
	default:
		t.Error("Wait returned before the goroutine ended")
	}
}

func TestParentEndStopsGroup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	g := lifecycle.New(ctx)
	cancel()
	g.Wait()
	if g.Go(func(context.Context) {}) {
		t.Error("Go after the parent's end reports true")
	}
	g.Stop(errStop)
}
