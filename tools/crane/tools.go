//go:build tools

// Package tools names the program that `go build` makes from this module: crane, unmodified.
package tools

import _ "github.com/google/go-containerregistry/cmd/crane"
