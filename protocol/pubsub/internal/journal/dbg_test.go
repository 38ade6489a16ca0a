package journal_test

import ("testing";"os";"strconv")

func TestDbg(t *testing.T) {
	s, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	history(t, s, nil)
}
