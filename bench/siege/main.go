// Command siege attacks one link node and measures the effect on its honest
// callers.
//
// The node, its honest callers and the attacker are separate processes, all of
// them this binary started again. The honest callers make the same calls first
// alone and then under attack. Each line of the table is what they measure and
// what the node and the attacker spend:
//
//	attack  p99 idle  p99 under attack  ratio  calls  failed  node CPU  attacker CPU  node memory
//
// The attacker has the cluster secret, the weakest tier across hosts, unless the
// attack is by strangers. Like an attacker on another host, it has its own
// address, 127.0.0.2; it runs with the lowest priority because such an attacker
// would not use this machine's processors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "siege:", err)
		os.Exit(1)
	}
}

// options are the settings of one run.
type options struct {
	// attack is the name of an attack, or "" for all.
	attack string
	// idle is how long the honest callers run alone.
	idle time.Duration
	// length is how long each attack lasts.
	length time.Duration
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 4 && args[0] == childWord {
		return child(ctx, args[1], args[2], args[3], os.Stdin, stdout) //nolint:gosec // there are four
	}
	var o options
	f := flag.NewFlagSet("siege", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.attack, "attack", "", "one of "+strings.Join(names(), ", ")+" (default all)")
	f.DurationVar(&o.idle, "idle", 10*time.Second, "how long the honest callers are alone first")
	f.DurationVar(&o.length, "for", time.Minute, "how long each attack lasts")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen := attacks()
	if o.attack != "" {
		i := slices.IndexFunc(chosen, func(a attack) bool { return a.name == o.attack })
		if i < 0 {
			return fmt.Errorf("no attack %q; there are %s", o.attack, strings.Join(names(), ", "))
		}
		chosen = chosen[i : i+1]
	}
	fmt.Fprintln(stdout, header)
	var broken []string
	for _, a := range chosen {
		fmt.Fprintf(stderr, "siege: %s for %v\n", a.name, o.length)
		r, err := besiege(ctx, a, o)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		fmt.Fprintln(stdout, r)
		if !r.held() {
			broken = append(broken, a.name)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("honest callers suffered from: %s", strings.Join(broken, ", "))
	}
	return nil
}

func names() []string {
	var all []string
	for _, a := range attacks() {
		all = append(all, a.name)
	}
	return all
}
