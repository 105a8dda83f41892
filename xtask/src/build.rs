//! What the checks need built: the binaries, kubectl, crane and other clients, and a kube-apiserver with its etcd to compare with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::sh;

/// The minor version and patch that kubectl and kube-apiserver report, those of the module they are built from (tools/*/go.mod).
const VERSION: (u32, u32) = (37, 2);
/// The same of the older kubectl.
const OLD_VERSION: (u32, u32) = (35, 4);

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// Cargo's target directory, wherever the environment put it.
pub(crate) fn target() -> Result<PathBuf> {
    let output = sh::output("cargo", ["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata = serde_json::from_str(&output).context("cargo metadata gave unexpected JSON")?;
    Ok(metadata.target_directory)
}

/// How the binaries are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As the tests are: in minutes, and nothing is compiled twice.
    Dev,
    /// As people use it, and as it is measured.
    Release,
}

impl Profile {
    /// Everyday checks use what the tests have built already; the full ones what is shipped.
    pub(crate) fn of_checks(full: bool) -> Self {
        if full { Self::Release } else { Self::Dev }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the binary, the sample and their driver; for everyday checks together with the tests, so that nothing is compiled twice. The
/// simulation is built with what is measured: unoptimised it takes ten times as long.
pub(crate) fn binaries(profile: Profile) -> Result<()> {
    match profile {
        Profile::Dev => sh::run("cargo", ["build", "--workspace", "--all-targets"]),
        Profile::Release => {
            sh::run("cargo", ["build", "--release", "-p", "kwick", "-p", "hello", "-p", "e2e", "-p", "simulation"])
        }
    }
}

/// The folder of the binaries. The target is named in .cargo/config.toml, so it is a folder of its own.
pub(crate) fn folder(profile: Profile) -> Result<PathBuf> {
    Ok(target()?.join(host()?).join(profile.folder()))
}

/// The target that rustc builds for here.
fn host() -> Result<String> {
    let version = sh::output("rustc", ["-vV"])?;
    let triple = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(triple.to_owned())
}

/// Builds kubectl, unmodified, from its public module; Go's own build cache makes the second time quick.
pub(crate) fn kubectl() -> Result<PathBuf> {
    go_tool(sh::LIMIT, "kubectl", "kubectl", "k8s.io/kubernetes/cmd/kubectl", &kubernetes_flags(VERSION))
}

/// Builds a kubectl of an older version, if that takes no longer than `limit`.
pub(crate) fn kubectl_old(limit: Duration) -> Result<PathBuf> {
    go_tool(limit, "kubectl-old", "kubectl-old", "k8s.io/kubernetes/cmd/kubectl", &kubernetes_flags(OLD_VERSION))
}

/// Builds Helm, unmodified, in both its versions, if neither takes longer than `limit`.
pub(crate) fn helm(limit: Duration) -> Result<PathBuf> {
    go_tool(limit, "helm3", "helm3", "helm.sh/helm/v3/cmd/helm", "-s -w")?;
    go_tool(limit, "helm4", "helm4", "helm.sh/helm/v4/cmd/helm", "-s -w")
}

/// Builds a kube-apiserver and its etcd, unmodified, from their public modules; the folder that they are in. Minutes the first time.
pub(crate) fn kube_oracle() -> Result<PathBuf> {
    let apiserver = "k8s.io/kubernetes/cmd/kube-apiserver";
    go_tool(sh::LIMIT, "kube-oracle", "etcd", "go.etcd.io/etcd/server/v3", "-s -w")?;
    go_tool(sh::LIMIT, "kube-oracle", "kube-apiserver", apiserver, &kubernetes_flags(VERSION))?;
    tools()
}

fn kubernetes_flags((minor, patch): (u32, u32)) -> String {
    format!(
        "-s -w -X k8s.io/component-base/version.gitVersion=v1.{minor}.{patch} \
         -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={minor}"
    )
}

/// Builds crane, unmodified, from its public module: it speaks to registries as `docker push` and `ko` do.
pub(crate) fn crane() -> Result<PathBuf> {
    go_tool(sh::LIMIT, "crane", "crane", "github.com/google/go-containerregistry/cmd/crane", "-s -w")
}

/// Builds ko, unmodified, if that takes no longer than `limit`.
pub(crate) fn ko(limit: Duration) -> Result<PathBuf> {
    go_tool(limit, "ko", "ko", "github.com/google/ko", "-s -w")
}

/// Builds the program that uses client-go.
pub(crate) fn client_go() -> Result<PathBuf> {
    go_tool(sh::LIMIT, "client-go", "client-go", ".", "-s -w")
}

/// Builds the program that answers what Knative's own autoscaler decides. Its tag makes a runtime whose clock follows the program.
pub(crate) fn autoscaler_oracle() -> Result<PathBuf> {
    let name = "autoscaler-oracle";
    go_build(sh::LIMIT, name, name, &["-ldflags", "-s -w", "-tags", "faketime", "."])
}

/// Builds the program that uses kube-rs, if that takes no longer than `limit`. It has its own dependencies, of which Kwick's own build is to
/// know nothing.
pub(crate) fn kube_rs(limit: Duration) -> Result<PathBuf> {
    let built = target()?.join("kube-rs");
    let manifest = ["build", "--quiet", "--locked", "--manifest-path", "tools/kube-rs/Cargo.toml", "--target-dir"];
    sh::check_within(limit, sh::command("cargo", manifest).arg(&built))?;
    let path = tools()?.join("kube-rs");
    std::fs::create_dir_all(tools()?)?;
    std::fs::copy(built.join(host()?).join("debug/kube-rs"), &path).context("cannot copy the kube-rs program")?;
    Ok(path)
}

/// Makes a Python that has the client library of tools/python, from PyPI.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = tools()?.join("python");
    sh::check(sh::command("python3", ["-m", "venv"]).arg(&folder))?;
    // Its pip is a script that names the folder, which may have been moved since.
    let python = folder.join("bin/python3");
    let pip = ["-m", "pip", "install", "--quiet", "--requirement", "tools/python/requirements.txt"];
    let installed = sh::run(&python.to_string_lossy(), pip);
    if installed.is_err() {
        // Nobody is to take it for one that has the library.
        std::fs::remove_dir_all(&folder)?;
    }
    installed.map(|()| folder)
}

/// The folder of what is built besides the binaries.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(target()?.join("tools"))
}

fn go_tool(limit: Duration, module: &str, name: &str, package: &str, flags: &str) -> Result<PathBuf> {
    go_build(limit, module, name, &["-ldflags", flags, package])
}

/// Builds the program of tools/`module` that `options` say, as `name`.
fn go_build(limit: Duration, module: &str, name: &str, options: &[&str]) -> Result<PathBuf> {
    let path = tools()?.join(name);
    let mut go = sh::command("go", ["build", "-trimpath", "-o"]);
    go.arg(&path).args(options);
    go.current_dir(sh::root().join("tools").join(module)).env("CGO_ENABLED", "0");
    sh::check_within(limit, &mut go)?;
    Ok(path)
}

/// A program to use: the one built here, else one on the path.
pub(crate) fn any_tool(name: &str) -> Result<Option<PathBuf>> {
    let built = tools()?.join(name);
    if built.is_file() {
        return Ok(Some(built));
    }
    Ok(sh::exists(name).then(|| PathBuf::from(name)))
}
