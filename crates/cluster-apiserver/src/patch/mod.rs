//! Ways to lay a patch over an object that Kubernetes has and JSON has not.

pub mod strategic;
