package link_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMesh runs f on a mesh in virtual time.
func inMesh(t *testing.T, f func(t *testing.T, mesh *linktest.Mesh), opts ...linktest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, linktest.NewMesh(t, opts...)) })
}

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }
