package journal_test

import (
	"os"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	s, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	history(t, s, []byte(os.Getenv("SCRIPT")))
}
