// Command metrics prints figures about the size and shape of the code, one per line:
// files, functions, structs, exported names, comments, the order of the files of the root
// package, and the stack depth of a call when it is written to the transport. It counts only the library: no tests, examples or
// measurements.
//
//	go run ./internal/metrics [folder]
package main

import (
	"fmt"
	"os"
	"text/tabwriter"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	library, err := read(root)
	if err != nil {
		return err
	}
	figures := measure(library)
	order, err := againstOrder(root, library)
	if err != nil {
		return err
	}
	figures = append(figures, order...)
	path, err := callPath(root)
	if err != nil {
		return err
	}
	figures = append(figures, path...)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\n", f.name, f.value)
	}
	return w.Flush()
}

// figure is one line of the table.
type figure struct{ name, value string }
