// Command bench compares link with the systems a user would pick instead.
//
// It measures unary echo calls, publish/subscribe and pipelines. Every run starts fresh
// processes, all of them this binary executed again: a server and a client, or a
// publisher or producer with its subscribers or workers and, if the peer needs one, a
// broker. Runs of the peers are interleaved, so that a machine that slows down affects
// all of them. Each line of the result compares self with one peer in the same session,
// as the ratio of calls or deliveries per second and of a latency:
//
//	<row> TAB <peer> TAB <rate of self / rate of peer> TAB <p99 of self / p99 of peer>
//
// Results go to standard output, progress and absolute figures to standard
// error. README.md says what each peer does and how to read the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	if isChild(os.Args) {
		os.Exit(childMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the settings of one session.
type options struct {
	// self is the peer that is compared with the others.
	self string
	// row selects rows by name, glob or regular expression. "" means all.
	row string
	// out is the folder for results.tsv and absolute.tsv. No file is written if it is "".
	out string
	// runs is how often each peer runs per row. The median counts.
	runs int
	// warm is the time before the measured window.
	warm   time.Duration
	window time.Duration
	// allocs counts allocations instead of measuring time.
	allocs bool

	// only has the comma-separated names of the peers that run in addition to self. "" means all.
	only string
	// profile is the folder for a CPU profile of every child. None is written if it is "".
	profile string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.self, "self", "link", "the `peer` to compare with the others")
	f.StringVar(&o.row, "row", "", "rows to run: a name or its beginning up to a slash, a glob or a regular expression (default all)")
	f.StringVar(&o.out, "out", "", "`folder` to write results.tsv and absolute.tsv to (default none)")
	f.IntVar(&o.runs, "runs", 3, "runs of each peer per row")
	f.StringVar(&o.only, "only", "", "comma-separated `peers` to compare with (default all)")
	f.StringVar(&o.profile, "profile", "", "`folder` to write a CPU profile of every process to (default none)")
	f.DurationVar(&o.warm, "warm", 300*time.Millisecond, "warm-up before each measured window")
	f.DurationVar(&o.window, "window", 1500*time.Millisecond, "measured window")
	f.BoolVar(&o.allocs, "allocs", false, "compare allocations per call with gRPC-Go instead of time")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; flags only", f.Arg(0))
	case o.runs < 1:
		return o, fmt.Errorf("-runs is %d, want 1 or more", o.runs)
	case o.window <= 0 || o.warm < 0:
		return o, fmt.Errorf("-warm %v, -window %v: want 0 or more and more than 0", o.warm, o.window)
	}
	return o, nil
}

// run runs the command with the given arguments and output streams.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	rows, err := selectRows(o.row)
	if err != nil {
		return err
	}
	if err := checkSelf(o.self); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary to start it again: %w", err)
	}
	m, err := newMaterial()
	if err != nil {
		return err
	}
	defer m.remove()

	s := session{options: o, exe: exe, material: m, secret: newClusterSecret(), stdout: stdout, stderr: &sharedWriter{to: stderr}}
	if o.allocs {
		return s.compareAllocs(ctx)
	}
	return s.compareRows(ctx, rows)
}
