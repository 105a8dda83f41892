//! Who may use an instance: the kubeconfig is the invoking user's, and client commands need no root.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::instance::{Instance, ensure};
use crate::place::{self, Place};

const NOBODY: u32 = 65534;
/// What cannot be looked at without root.
const ROOTS_OWN: [&str; 4] = ["capabilities", "overlayfs", "links", "firewall"];

/// Started through sudo, as far as Kwick can tell.
pub(super) fn of_invoker(place: &Place) -> Result<String> {
    let id = NOBODY.to_string();
    let kwick = Instance::start_as(place, "invoker", &[("SUDO_UID", &id), ("SUDO_GID", &id)])?;
    let meta = std::fs::metadata(kwick.folder().join("kubeconfig")).context("there is no kubeconfig")?;
    ensure(meta.mode() & 0o777 == 0o600 && (meta.uid(), meta.gid()) == (NOBODY, NOBODY), || {
        format!("the kubeconfig is {:o}, {}:{}", meta.mode() & 0o777, meta.uid(), meta.gid())
    })?;
    let program = unprivileged(place)?;
    // Neither root nor Kwick's own user could read it: the client does.
    let sample = place.scratch("invoker-hello");
    std::fs::copy(place.binary("hello"), &sample)?;
    std::fs::set_permissions(&sample, std::fs::Permissions::from_mode(0o500))?;
    chown(&sample, Some(NOBODY), Some(NOBODY))?;
    let sample = sample.display().to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env("KWICK_DATA_DIR", kwick.folder()).uid(NOBODY).gid(NOBODY).current_dir("/");
        place::output(&mut command)
    };
    let status: Value = serde_json::from_str(&run(&["status", "-o", "json"])?)?;
    ensure(status.pointer("/pid").is_some_and(Value::is_i64), || format!("status says {status}"))?;
    let export = run(&["env"])?;
    ensure(export.starts_with("export KUBECONFIG="), || format!("env says {export}"))?;
    run(&["image", "pack", &sample, "--name", "theirs", "--port", "8080"])?;
    ensure(run(&["image", "list"])?.contains("theirs"), || "the image is not listed".to_owned())?;
    run(&["image", "rm", "theirs"])?;
    kwick.down()?;
    Ok("kubeconfig 0600 and theirs; status, env and image as they".to_owned())
}

/// As root it looks at everything; without, at what it can, and says what is left out.
pub(super) fn doctor(place: &Place) -> Result<String> {
    let facts = |command: &mut Command| -> Result<Vec<Value>> {
        let said = place::output(command)?;
        serde_json::from_str(&said).with_context(|| format!("it is not JSON: {said}"))
    };
    let names = |facts: &[Value]| -> Vec<String> {
        facts.iter().map(|fact| crate::api::text(fact, "/name").to_owned()).collect()
    };
    let ours = names(&facts(&mut place.kwick(["doctor", "-o", "json"]))?);
    let mut theirs = Command::new(unprivileged(place)?);
    let theirs = facts(theirs.args(["doctor", "-o", "json"]).uid(NOBODY).gid(NOBODY).current_dir("/"))?;
    let root = theirs.first().context("it says nothing")?;
    for name in ROOTS_OWN {
        ensure(ours.iter().any(|one| one == name), || format!("root is not told about {name}: {ours:?}"))?;
        let reason = crate::api::text(root, "/reason");
        ensure(reason.contains(name), || format!("nobody is told that {name} is left out: {reason}"))?;
    }
    let both = names(&theirs);
    ensure(["kernel", "namespaces", "cgroups"].iter().all(|name| both.iter().any(|one| one == name)), || {
        format!("without root it looks only at {both:?}")
    })?;
    Ok(format!("{} facts, {} without root", ours.len(), theirs.len()))
}

/// A copy of kwick where anybody can run it: the build folder may be closed to others.
fn unprivileged(place: &Place) -> Result<std::path::PathBuf> {
    let copy = place.scratch("kwick-for-all");
    if !copy.exists() {
        std::fs::copy(place.binary("kwick"), &copy).context("cannot copy the binary")?;
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}
