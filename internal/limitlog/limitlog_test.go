package limitlog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/limitlog"
)

func TestLinesBeyondTheLimitAreDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := limitlog.New(slog.New(slog.NewTextHandler(&out, nil)))
		for range limitlog.Burst + 5 {
			log.Warn("bad file", "name", "x")
		}
		if got := strings.Count(out.String(), "bad file"); got != limitlog.Burst {
			t.Errorf("%d lines, want %d", got, limitlog.Burst)
		}
		if strings.Contains(out.String(), "lines_dropped") {
			t.Error("a line says that some were dropped before any was")
		}
		<-time.After(limitlog.Every)
		out.Reset()
		log.Info("good again", "name", "x")
		if got := out.String(); !strings.Contains(got, "level=INFO") || !strings.Contains(got, `"good again" name=x lines_dropped=5`) {
			t.Errorf("got %q, want an INFO line that counts 5 dropped lines", got)
		}
		<-time.After(limitlog.Every)
		out.Reset()
		log.Info("still good")
		if got := out.String(); got == "" || strings.Contains(got, "lines_dropped") {
			t.Errorf("got %q, want a line that counts nothing: the dropped lines were told", got)
		}
	})
}
