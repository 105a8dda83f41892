//go:build tools

// Package tools names the program that `go build` makes from this module: ko, unmodified. It builds the images of Knative's own tests.
package tools

import _ "github.com/google/ko"
