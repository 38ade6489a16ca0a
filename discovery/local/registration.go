//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"context"
	"fmt"
	"os"

	"github.com/linkmesh/link/discovery"
)

// registration is one instance file that this process holds.
type registration struct {
	registry *Registry
	id       string

	// name is the name of the file.
	name  string
	query discovery.Query

	// made means that the file has been published. It is guarded by Registry.mu.
	made bool

	// turn guards the fields below: it holds a token that a goroutine takes before it works on the
	// file. It is a channel because Update must stop waiting when its context ends.
	turn chan struct{}

	// file is locked and holds data.
	file *os.File
	data []byte

	// intact is the version that is known to hold data. It is zero if the file must be read.
	intact fileVersion

	// reported means that a failed repair was reported.
	reported bool
	closed   bool
}

// newRegistration returns a registration. The caller has its turn.
func newRegistration(r *Registry, in discovery.Instance, data []byte) *registration {
	return &registration{
		registry: r,
		id:       in.ID,
		name:     in.ID + suffix,
		query:    in.Query(),
		turn:     make(chan struct{}, 1),
		data:     data,
	}
}

func (g *registration) release() { g.turn <- struct{}{} }

func (g *registration) Update(ctx context.Context, in discovery.Instance) error {
	if err := g.update(ctx, in); err != nil {
		return fmt.Errorf("local: update %s: %w", g.id, err)
	}
	g.registry.wake.Set()
	return nil
}

func (g *registration) update(ctx context.Context, in discovery.Instance) error {
	if err := in.Validate(); err != nil {
		return err
	}
	in = in.Normalized()
	if err := in.ValidateUpdate(g.id, g.query); err != nil {
		return err
	}
	data, err := g.registry.coder.encode(in)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-g.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer g.release()
	if g.closed {
		return discovery.ErrClosed
	}
	file, err := g.registry.dir.replace(ctx, g.name, g.file, data)
	if err != nil {
		return err
	}
	g.adopt(file)
	g.data = data
	return nil
}

// adopt closes the old file, to which no path leads any more, and keeps the new one.
func (g *registration) adopt(file *os.File) {
	_ = g.file.Close()
	g.file, g.intact, g.reported = file, fileVersion{}, false
}

func (g *registration) Close() error {
	<-g.turn
	defer g.release()
	if g.closed {
		return nil
	}
	g.closed = true
	err := g.registry.dir.withdraw(g.name, g.file)
	g.registry.forget(g)
	g.registry.wake.Set()
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}
