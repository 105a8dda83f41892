// Command kube-facts writes the table of facts about the fields of Kubernetes' built-in types.
//
// It reflects over struct tags of the API modules and over their generated OpenAPI definitions; see README.md.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "", "file to write the table to")
	text := flag.Bool("text", false, "print the table for people")
	flag.Parse()
	table, err := collect(roots())
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-facts:", err)
		os.Exit(1)
	}
	if *text {
		table.print(os.Stdout)
	}
	if *out == "" {
		return
	}
	blob, err := table.encode()
	if err == nil {
		err = os.WriteFile(*out, blob, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-facts:", err)
		os.Exit(1)
	}
	fmt.Printf("%d types, %d fields, %d bytes\n", len(table.types), table.fieldCount(), len(blob))
}
