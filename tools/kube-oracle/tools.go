//go:build tools

// Package tools names the programs that `go build` makes from this module: kube-apiserver and etcd, unmodified. Kwick's API server is compared with them.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
