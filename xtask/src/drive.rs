//! Starting the driver of a running Kwick (`tests/e2e`), as root, and leaving nothing behind however it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::build::Profile;
use crate::{build, sh};

/// How long one run of the driver may take: a full one kills Kwick five hundred times.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long taking down what a run left may take, for each instance.
const SWEEP_LIMIT: Duration = Duration::from_secs(3 * 60);

/// How commands become root here.
pub(crate) enum Root {
    Already,
    Sudo,
    No,
}

/// Whether and how this machine lets the caller be root without asking for a password.
pub(crate) fn root() -> Root {
    if nix::unistd::geteuid().is_root() {
        return Root::Already;
    }
    let mut sudo = sh::command("sudo", ["-n", "true"]);
    if sh::exists("sudo") && sudo.status().is_ok_and(|status| status.success()) {
        return Root::Sudo;
    }
    Root::No
}

/// Builds what is needed, then runs one command of the driver.
pub(crate) fn build_and_run(name: &str, options: &[String]) -> Result<()> {
    build::binaries(Profile::Release)?;
    run(Profile::Release, name, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs one command of the driver on a scratch folder of its own, which is swept afterwards.
pub(crate) fn run(profile: Profile, name: &str, options: &[&str]) -> Result<()> {
    let folder = build::folder(profile)?;
    // Not under the target directory: Kwick's unprivileged user must be able to reach its data.
    let scratch = std::env::temp_dir().join(format!("kwick-{name}-{}", std::process::id()));
    let mut args: Vec<OsString> = vec![folder.join("e2e").into(), "--until-eof".into(), name.into()];
    args.extend(["--bin-dir".into(), folder.clone().into(), "--scratch".into(), scratch.clone().into()]);
    args.extend(["--workspace".into(), sh::root().into()]);
    for tool in ["kubectl", "crane"] {
        if let Some(path) = build::any_tool(tool)? {
            args.extend([format!("--{tool}").into(), path.into()]);
        }
    }
    args.extend(["--tools".into(), build::tools()?.into()]);
    args.extend(options.iter().map(OsString::from));
    let done = sh::check_within(LIMIT, as_root(args)?.stdin(Stdio::piped()));
    sweep(&folder.join("kwick"), &scratch).context("cannot clean up after the run")?;
    done
}

/// A command line that runs as root.
fn as_root(args: Vec<OsString>) -> Result<Command> {
    match root() {
        Root::Already => {
            let (program, rest) = args.split_first().context("an empty command line")?;
            Ok(sh::command(program, rest))
        }
        Root::Sudo => Ok(sh::command("sudo", [OsString::from("-n"), "--".into()].into_iter().chain(args))),
        Root::No => bail!("this needs root: run it as root, or where sudo works without a password"),
    }
}

/// Takes down whatever instance a killed driver left in its scratch folder. A driver that ended by itself removed the folder.
fn sweep(kwick: &Path, scratch: &Path) -> Result<()> {
    if !scratch.exists() {
        return Ok(());
    }
    let folders: Vec<PathBuf> = std::fs::read_dir(scratch)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let down = ["down", "--delete-data", "--data-dir"].map(OsString::from);
        let args = std::iter::once(kwick.into()).chain(down).chain([folder.into()]).collect();
        // A folder that is no data directory is refused, which is as good.
        let _ = sh::clean_up(SWEEP_LIMIT, &mut as_root(args)?);
    }
    let remove = ["rm", "-rf", "--one-file-system"].map(OsString::from);
    sh::clean_up(SWEEP_LIMIT, &mut as_root(remove.into_iter().chain([scratch.into()]).collect())?)
}
