//go:build unix

package security_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/linkmesh/link/security"
)

// givenAway is a file as it would look if it belonged to another user.
type givenAway struct{ fs.FileInfo }

func (givenAway) Sys() any {
	return &syscall.Stat_t{Uid: uint32(os.Geteuid()) + 1}
}

func TestADevSecretOfAnotherUserSaysWhatToDo(t *testing.T) {
	folder, file := devHome(t)
	mustDev(t, "orders")
	for _, tc := range []struct {
		path      string
		kind      fs.FileMode
		says, fix string
	}{
		{folder, fs.ModeDir, "run as that user, or set HOME or XDG_CONFIG_HOME to a folder of this user", ""},
		{file, 0, "belongs to user ", "rm '" + file + "'"},
	} {
		info, err := os.Lstat(tc.path)
		if err != nil {
			t.Fatal(err)
		}
		err = security.PrivateProblem(tc.path, givenAway{info}, tc.kind, info.Mode().Perm())
		var unsafe *security.DevSecretError
		if !errors.As(err, &unsafe) || unsafe.Fix != tc.fix || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), tc.fix) {
			t.Errorf("got %v, want it to say %q and the fix %q", err, tc.says, tc.fix)
		}
		if err := security.PrivateProblem(tc.path, info, tc.kind, info.Mode().Perm()); err != nil {
			t.Errorf("one's own is refused: %v", err)
		}
	}
}
