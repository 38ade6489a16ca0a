package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/protocol/reqrep"
)

// childVariable makes the test binary a server that uses the agent at the address it holds.
const childVariable = "LINK_INTEGRATION_CHILD"

// runChild serves until its input ends, and says its instance ID when it is announced. The cluster
// secret comes by LINK_CLUSTER_SECRET, as in production.
func runChild() int {
	if err := serveAsChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveAsChild() error {
	registry, err := consul.New(consul.Config{Address: os.Getenv(childVariable), StateDir: "off"})
	if err != nil {
		return err
	}
	defer registry.Close()
	node, err := link.New(link.Config{Service: service, Addr: "127.0.0.1:0", Registry: registry})
	if err != nil {
		return err
	}
	reqrep.Handle(node, read, func(context.Context, string) (string, error) { return node.Instance(), nil })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	}()
	go func() {
		<-node.Ready()
		fmt.Println("instance=" + node.Instance())
	}()
	return node.Run(ctx)
}

// child is a server in a process of its own.
type child struct {
	t    *testing.T
	id   string
	cmd  *exec.Cmd
	kill func() // as kill -9 does
}

// spawn starts a child that uses the agent at address, and returns when it is announced.
func (m *mesh) spawn(address string) *child {
	m.t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+address, "LINK_CLUSTER_SECRET="+m.secret)
	cmd.Stderr = m.log
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	killed := false
	c := &child{t: m.t, cmd: cmd, kill: func() {
		if killed {
			return
		}
		killed = true
		_ = cmd.Process.Kill() // fails if it ended by itself
		_ = cmd.Wait()         // says that it was killed
		_ = in.Close()         // the other end is gone
	}}
	m.t.Cleanup(c.kill)
	lines := make(chan string, 1)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			if id, ok := strings.CutPrefix(s.Text(), "instance="); ok {
				lines <- id
				return
			}
		}
	}()
	select {
	case id, ok := <-lines:
		if !ok {
			m.t.Fatal("the server in another process ended before it was announced")
		}
		c.id = id
	case <-time.After(within):
		m.t.Fatalf("the server in another process is not announced within %v", within)
	}
	return c
}
