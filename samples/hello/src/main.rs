//! Kwick: Knative on one machine and on any Kubernetes, in one binary.
fn main() {}
