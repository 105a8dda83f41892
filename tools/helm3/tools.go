//go:build tools

// Package tools names the program that `go build` makes from this module: Helm 3, unmodified.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
