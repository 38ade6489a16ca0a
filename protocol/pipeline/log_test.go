package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// says fails the test unless the log has n lines with all the words.
func says(t *testing.T, log *logtest.Log, n int, words ...string) {
	t.Helper()
	// A future ends before its task is logged.
	synctest.Wait()
	if lines := log.Count(words...); lines != n {
		t.Errorf("%d lines with %q, want %d, in\n%s", lines, words, n, log)
	}
}

func TestTheLogSaysWhatAnOperatorMustKnow(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var mine, theirs logtest.Log
		node := mesh.Node(link.Config{Service: "mailer", Logger: theirs.Logger()})
		pipeline.Pull(node, receipts, pipeline.NoResult(func(_ context.Context, o order) error {
			switch o.ID {
			case "panics":
				panic("a bug") //nolint:forbidigo // it is what is tested
			case "dead":
				return pipeline.Reject(errors.New("no"))
			}
			return nil
		}))
		closed := pipeline.NewStage[order, pipeline.None]("mailer", "closed")
		pipeline.Pull(node, closed, pipeline.NoResult(func(context.Context, order) error { return nil }))
		pipeline.Authorize(node, func(a pipeline.Access) error {
			if a.Stage == "closed" {
				return errors.New("not you")
			}
			return nil
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{Logger: mine.Logger()})
		var faults pipeline.Faults
		p := producer(t, client, faults.On(dir), pipeline.Attempts(1))
		for _, id := range []string{"panics", "dead"} {
			if _, err := p.Push(t.Context(), order{ID: id}); !errors.Is(err, link.Aborted) {
				t.Errorf("%s: %v", id, err)
			}
		}
		says(t, &theirs, 1, "level=ERROR", "panicked", "a bug", "log_test.go")
		says(t, &mine, 2, "level=WARN", "dead letter", "cause=")
		if _, err := pipeline.Enqueue(t.Context(), client, closed, order{}); err != nil {
			t.Error(err)
		}
		sleep(time.Minute)
		says(t, &mine, 1, "level=WARN", "mailer/closed", "not you")

		faults.Set(wal.ErrNoSpace)
		for range 3 {
			if _, err := p.Enqueue(t.Context(), order{}); !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("push to a full disk: %v", err)
			}
		}
		says(t, &mine, 1, "level=WARN", "full", dir)
		faults.Set(nil)
		if _, err := p.Push(t.Context(), order{}); err != nil {
			t.Error(err)
		}
		says(t, &mine, 1, "room again", dir)
		faults.Freeze(&wal.FrozenError{Op: "sync", File: "x.wal", Cause: syscall.EIO})
		says(t, &mine, 1, "level=ERROR", "frozen", dir, "x.wal")
	})
}

func TestAPanicOfOnDeadLetterIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return pipeline.Reject(errors.New("no")) })
		var mine logtest.Log
		p := producer(t, mesh.Node(link.Config{Logger: mine.Logger()}), pipeline.OnDeadLetter(func(pipeline.DeadLetter) {
			panic("a bug") //nolint:forbidigo // it is what is tested
		}))
		for range 2 {
			if _, err := p.Push(t.Context(), order{}); !errors.Is(err, link.Aborted) {
				t.Error(err)
			}
		}
		says(t, &mine, 2, "level=ERROR", "OnDeadLetter panicked", "a bug")
	})
}

func TestADamagedFolderCanBeSalvaged(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var mine logtest.Log
		client := mesh.Node(link.Config{Logger: mine.Logger()})
		p := producer(t, client, pipeline.Durable(dir))
		all := enqueue(t, p, 100)
		closeQueue(t, p)
		segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil || len(segments) != 1 {
			t.Fatal(segments, err)
		}
		b, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(b)
		b[len(b)/2] ^= 4
		if err := os.WriteFile(segments[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pipeline.NewProducer(client, receipts, pipeline.Durable(dir)); !errors.Is(err, link.DataLoss) || !strings.Contains(err.Error(), "pipeline.Salvage") {
			t.Errorf("a damaged folder: %v", err)
		}
		p = producer(t, client, pipeline.Durable(dir), pipeline.Salvage())
		if n := p.Stats().Depth; n != 99 {
			t.Errorf("%d tasks are left of 100, of which one was damaged", n)
		}
		says(t, &mine, 1, "level=WARN", "regions=1")
		f, err := p.Enqueue(t.Context(), order{})
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range all {
			if old.ID() == f.ID() {
				t.Errorf("the ID %s was used again", f.ID())
			}
		}
		closeQueue(t, p)

		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(segments[0], append(whole, 1, 2, 3), 0o600); err != nil {
			t.Fatal(err)
		}
		closeQueue(t, producer(t, client, pipeline.Durable(dir)))
		says(t, &mine, 1, "level=WARN", "cut_off=3")
	})
}
