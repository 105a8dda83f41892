//! `cargo xtask layers`: the layering rule of ARCHITECTURE.md, checked against the workspace's manifests.
//!
//! The crate prefix is the layer; [`allowed`] is the whole rule. Development dependencies obey it too, so that a test cannot tie what the
//! code keeps apart; tests that need both houses live in `tests/*`.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::sh;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
}

/// Crates that think and do not act: no runtime, no sockets, no clock.
const PURE: [&str; 2] = ["knative-apis", "knative-logic"];
/// What a pure crate may not depend on.
const ACTING: [&str; 7] = ["tokio", "hyper", "kube", "futures", "rand", "nix", "libc"];

/// Checks every edge between the workspace's crates.
pub(crate) fn run() -> Result<()> {
    let output = sh::output("cargo", ["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata = serde_json::from_str(&output).context("cargo metadata gave unexpected JSON")?;
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let is_test = package.manifest_path.contains("/tests/");
        for dependency in &package.dependencies {
            let is_ours = dependency.path.is_some();
            if is_ours && !is_test && !allowed(&package.name, &dependency.name) {
                violations.push(format!("{} may not name {}", package.name, dependency.name));
            }
            if PURE.contains(&package.name.as_str()) && ACTING.contains(&dependency.name.as_str()) {
                violations.push(format!("{} is pure and may not name {}", package.name, dependency.name));
            }
        }
    }
    if !violations.is_empty() {
        bail!("layers are crossed (see ARCHITECTURE.md, \"Layers\"):\n  {}", violations.join("\n  "));
    }
    Ok(())
}

/// Whether crate `from` may name crate `to`.
fn allowed(from: &str, to: &str) -> bool {
    let is_actor =
        matches!(from, "knative-serving" | "knative-eventing" | "knative-build" | "knative-proxy" | "knative-broker");
    match from {
        "kwick" | "xtask" => true,
        "base-controller" | "base-net" => to == "base-rt",
        "base-image" => matches!(to, "base-net" | "base-rt"),
        "base-dockerfile" => matches!(to, "base-image" | "base-net" | "base-rt"),
        "knative-logic" => to == "knative-apis",
        "cluster-workloads" => to.starts_with("base-") || to == "cluster-sandbox",
        _ if is_actor => to.starts_with("base-") || PURE.contains(&to),
        _ if from.starts_with("cluster-") => to.starts_with("base-"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn the_two_houses_do_not_know_each_other() {
        assert!(!allowed("knative-serving", "cluster-apiserver"));
        assert!(!allowed("cluster-workloads", "knative-apis"));
        assert!(!allowed("knative-serving", "knative-proxy"));
        assert!(!allowed("base-image", "cluster-sandbox"));
        assert!(allowed("cluster-workloads", "cluster-sandbox"));
        assert!(allowed("knative-proxy", "knative-logic"));
    }
}
