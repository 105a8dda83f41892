//! A Kubernetes-compatible API as one tower service.
