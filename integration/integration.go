// Package integration holds link to its word against the real Consul agent.
//
// # Overview
//
// The tests start agents of the version that consul-agent/go.mod pins, put a
// proxy in front of them that misbehaves on demand, and run real nodes on real
// sockets. Nothing here is for import.
//
// # Usage
//
//	make integration
//
// The Makefile builds the agent from its Go module, so nothing is downloaded
// that go.sum does not vouch for. Without the agent the tests fail and say so.
//
// # Testing
//
// Each test owns the agents it starts. They end with it, also when it panics.
package integration
