//go:build tools

// Package tools names the program that `go build` makes from this module: an older kubectl, unmodified.
package tools

import _ "k8s.io/kubernetes/cmd/kubectl"
