package main_test

import (
	"testing"

	"github.com/linkmesh/link/internal/exampletest"
)

func TestTheProducerLearnsHowTasksEnd(t *testing.T) {
	exampletest.Prints(t,
		`[12] workers counted 1000 words on 200 pages`,
		`a blurred page has 3 words, as the second attempt found`,
		`an empty page: aborted: task \S+ of counters/words is a dead letter after 1 attempt: .*the page is empty`,
	)
}
