// Package integration tests link against a real Consul agent.
//
// # Overview
//
// The tests start agents of the version that consul-agent/go.mod pins, put a
// proxy in front of them that misbehaves on demand, and run real nodes on real
// sockets. The package is not for import.
//
// # Usage
//
//	make integration
//
// The Makefile builds the agent from its Go module, so go.sum verifies every
// download. Without the agent the tests fail with a message.
//
// # Testing
//
// Each test owns the agents that it starts. They end with the test, even if it
// panics.
package integration
