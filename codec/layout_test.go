package codec_test

import (
	"sync"
	"testing"

	"github.com/linkmesh/link/codec"
)

// TestLayoutsInUseAreNotWrittenTo compiles a type that contains a type in use, for the race
// detector.
func TestLayoutsInUseAreNotWrittenTo(t *testing.T) {
	c := codec.CBOR()
	text, err := c.Append(nil, new("text"))
	if err != nil {
		t.Fatal(err)
	}
	type holder struct{ Text string }
	var wg sync.WaitGroup
	start := make(chan struct{})
	wg.Go(func() {
		close(start)
		for range 100 {
			var v string
			if err := c.Decode(text, &v); err != nil {
				t.Error(err)
			}
		}
	})
	<-start
	if _, err := c.Append(nil, &holder{"x"}); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
