//go:build unix

package security_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/linkmesh/link/internal/private"
	"github.com/linkmesh/link/security"
)

// givenAway describes a file as if it belonged to another user.
type givenAway struct{ fs.FileInfo }

func (givenAway) Sys() any {
	return &syscall.Stat_t{Uid: uint32(os.Geteuid()) + 1}
}

func TestADevSecretOfAnotherUserSaysWhatToDo(t *testing.T) {
	folder, file := devHome(t)
	mustDev(t, "orders")
	info, err := os.Lstat(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := private.CheckFolder(folder, info, private.Loose); err != nil {
		t.Errorf("one's own folder is refused: %v", err)
	}
	for _, tc := range []struct {
		err       error
		says, fix string
	}{
		{
			security.UnfitFolder(folder, private.CheckFolder(folder, givenAway{info}, private.Loose)),
			"choose a folder of this user, or run as the owner: HOME or XDG_CONFIG_HOME says where it is", "",
		},
		{
			security.UnfitFile(file, &private.Error{Path: file, Problem: private.FileProblem(0, private.FileMode, os.Geteuid()+1), Fix: "remove it"}),
			"belongs to user ", "rm " + private.Word(file),
		},
	} {
		_, fix, _ := strings.Cut(tc.err.Error(), ": run: ")
		if !errors.Is(tc.err, security.ErrInvalid) || fix != tc.fix || !strings.Contains(tc.err.Error(), tc.says) {
			t.Errorf("got %v, want it to say %q and the fix %q", tc.err, tc.says, tc.fix)
		}
	}
}
