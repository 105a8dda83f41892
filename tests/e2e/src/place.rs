//! Where things are: the binaries, the workspace, and the scratch folder that is gone in the end.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every command's options.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The folder with the binaries kwick, hello, e2e-caller and e2e-webhook
    #[arg(long)]
    bin_dir: PathBuf,
    /// A folder that this program makes and removes; any user must be able to reach it
    #[arg(long)]
    scratch: PathBuf,
    /// The project's folder
    #[arg(long)]
    workspace: PathBuf,
    /// kubectl, where there is one
    #[arg(long)]
    kubectl: Option<PathBuf>,
    /// crane, where there is one
    #[arg(long)]
    crane: Option<PathBuf>,
    /// A folder of other clients, each of which may be missing
    #[arg(long)]
    tools: Option<PathBuf>,
    /// Also what takes long
    #[arg(long)]
    pub(crate) full: bool,
}

/// The scratch folder, removed at the end.
pub(crate) struct Scratch<'a>(&'a Path);

impl Place {
    /// Makes the scratch folder.
    pub(crate) fn open(&self) -> Result<Scratch<'_>> {
        if !nix::unistd::geteuid().is_root() {
            bail!("this starts containers and needs root");
        }
        std::fs::create_dir_all(&self.scratch).with_context(|| format!("cannot make {}", self.scratch.display()))?;
        std::fs::set_permissions(&self.scratch, std::fs::Permissions::from_mode(0o755))?;
        Ok(Scratch(&self.scratch))
    }

    /// The options of another run of this program, with a scratch folder of its own.
    pub(crate) fn options(&self, scratch: &Path) -> Vec<OsString> {
        let paths = [("--bin-dir", &*self.bin_dir), ("--scratch", scratch), ("--workspace", &*self.workspace)];
        let tools = [("--kubectl", self.kubectl()), ("--crane", self.crane()), ("--tools", self.tools.as_deref())];
        let tools = tools.into_iter().filter_map(|(name, path)| Some((name, path?)));
        paths.into_iter().chain(tools).flat_map(|(name, path)| [name.into(), path.into()]).collect()
    }

    /// A path below the scratch folder.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A path in the project.
    pub(crate) fn workspace(&self, path: &str) -> PathBuf {
        self.workspace.join(path)
    }

    /// A binary built beside this program.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The folder of the binaries.
    pub(crate) fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// A kwick command, ready to be run. In a process group of its own: Ctrl-C is for this program, which then cleans up with others.
    pub(crate) fn kwick(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(self.binary("kwick"));
        command.args(args).stdin(Stdio::null()).process_group(0).env_remove("KUBECONFIG").env_remove("KWICK_DATA_DIR");
        command
    }

    /// kubectl, or nothing where there is none.
    pub(crate) fn kubectl(&self) -> Option<&Path> {
        self.kubectl.as_deref()
    }

    /// Another client, by its path in the folder of these; nothing where it was not built.
    pub(crate) fn tool(&self, path: &str) -> Option<PathBuf> {
        self.tools.as_ref().map(|folder| folder.join(path)).filter(|path| path.is_file())
    }

    /// crane, or nothing where there is none.
    pub(crate) fn crane(&self) -> Option<&Path> {
        self.crane.as_deref()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // An instance that could not be taken down keeps its data, by which the caller's sweep finds it.
        let folders = std::fs::read_dir(self.0).into_iter().flatten().flatten();
        if !folders.into_iter().any(|folder| folder.path().join("VERSION").exists()) {
            let _ = std::fs::remove_dir_all(self.0);
        }
    }
}

/// A process that ends with this value.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it; what it prints is not seen.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(started.with_context(|| format!("cannot start {command:?}"))?))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("a process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal process {pid}"))
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither can fail for a child that was not waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command and gives what it said; fails, with it, when the command does.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = outcome(command)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, text(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command; what it says has to contain these.
pub(crate) fn shows(command: &mut Command, expected: &[&str]) -> Result<()> {
    let said = output(command)?;
    match expected.iter().find(|part| !said.contains(**part)) {
        Some(missing) => bail!("{command:?}: {missing:?} is not in {said:?}"),
        None => Ok(()),
    }
}

/// Runs a command to its end, whichever.
pub(crate) fn outcome(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot start {command:?}"))
}

/// What a command wrote, first to standard error, then to standard output.
pub(crate) fn text(output: &Output) -> String {
    let both = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    both.join("\n").trim().to_owned()
}
