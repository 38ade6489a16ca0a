package main_test

import (
	"testing"

	"github.com/linkmesh/link/internal/exampletest"
)

func TestHelloGreetsAndRefuses(t *testing.T) {
	exampletest.Prints(t,
		`Hello, Ada!`,
		`from spiffe://dev\.link/ns/default/svc/greeter over TLS 1\.3`,
		`call greeter/greet: invalid argument: greet whom\? \[greeter-\w+ at 127\.0\.0\.1:\d+\]`,
		`an invalid argument: true`,
	)
}
