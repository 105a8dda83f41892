//! One Kwick of this program's own: started on a data directory below the scratch folder and on free ports, taken down in any case.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::api::{Api, text};
use crate::http::Target;
use crate::place::{self, Place};
use crate::until::until_true;

const END_WITHIN: Duration = Duration::from_secs(30);

/// A running instance.
pub(crate) struct Instance<'a> {
    place: &'a Place,
    folder: PathBuf,
    options: Vec<String>,
    /// Where the gateway listens.
    pub(crate) gateway: Target,
    /// Its API, as the kubeconfig's user.
    pub(crate) api: Api,
    is_up: bool,
}

/// Addresses on loopback that nobody uses now: gateway, API, registry.
pub(crate) fn free_addresses() -> Result<[SocketAddr; 3]> {
    let listeners: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("no free port")?;
    let addresses: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("three listeners have three addresses"))
}

/// The options that say where an instance lives.
pub(crate) fn up_options(folder: &Path, [gateway, api, registry]: [SocketAddr; 3]) -> Vec<String> {
    let addresses = [("--gateway-addr", gateway), ("--api-addr", api), ("--registry-addr", registry)];
    let mut options = vec!["--data-dir".to_owned(), folder.display().to_string()];
    options.extend(addresses.into_iter().flat_map(|(name, address)| [name.to_owned(), address.to_string()]));
    options
}

impl<'a> Instance<'a> {
    /// Starts one that has everything.
    pub(crate) fn start(place: &'a Place, name: &str) -> Result<Self> {
        Self::start_with(place, name, &[])
    }

    /// Starts one with further options.
    pub(crate) fn start_with(place: &'a Place, name: &str, options: &[&str]) -> Result<Self> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Self::start_in(place, name, free_addresses()?, options, &[])
    }

    /// Starts one that has everything, at these addresses, with further options.
    pub(crate) fn start_at(place: &'a Place, name: &str, addresses: [SocketAddr; 3], options: &[&str]) -> Result<Self> {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self::start_in(place, name, addresses, options, &[])
    }

    /// Starts one that has everything, with further variables in its environment.
    pub(crate) fn start_as(place: &'a Place, name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(place, name, free_addresses()?, Vec::new(), variables)
    }

    fn start_in(
        place: &'a Place,
        name: &str,
        addresses: [SocketAddr; 3],
        options: Vec<String>,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = place.scratch(name);
        let mut all = up_options(&folder, addresses);
        all.extend(options);
        let outcome = Self::up(place, &all, variables);
        let [gateway, ..] = addresses;
        let api = outcome.and_then(|()| Api::load(&folder.join("kubeconfig")));
        let api = match api {
            Ok(api) => api,
            Err(error) => {
                let _ = Self::end(place, &folder);
                return Err(error);
            }
        };
        Ok(Self { place, folder, options: all, gateway: Target::plain(gateway), api, is_up: true })
    }

    fn up(place: &Place, options: &[String], variables: &[(&str, &str)]) -> Result<()> {
        let options = options.iter().map(String::as_str);
        let mut up = place.kwick(["up", "--detach"].into_iter().chain(options));
        place::output(up.envs(variables.iter().copied())).map(|_| ())
    }

    fn end(place: &Place, folder: &Path) -> Result<()> {
        let mut down = place.kwick(["down", "--delete-data", "--data-dir"]);
        place::output(down.arg(folder)).map(|_| ())
    }

    /// Starts it again on the same data and ports.
    pub(crate) fn up_again(&self) -> Result<()> {
        Self::up(self.place, &self.options, &[])
    }

    /// Where things are.
    pub(crate) fn place(&self) -> &Place {
        self.place
    }

    /// The sample's binary.
    pub(crate) fn hello(&self) -> PathBuf {
        self.place.binary("hello")
    }

    /// Its data directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The options it was started with.
    pub(crate) fn options(&self) -> &[String] {
        &self.options
    }

    /// A kwick command about this instance.
    pub(crate) fn kwick(&self, args: &[&str]) -> Command {
        let mut command = self.place.kwick(args.iter().take(1));
        command.arg("--data-dir").arg(&self.folder).args(args.iter().skip(1));
        command
    }

    /// kubectl with this instance's kubeconfig; nothing where there is no kubectl.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Option<Command> {
        let mut command = self.with_kubeconfig(self.place.kubectl()?);
        command.args(args);
        Some(command)
    }

    /// crane, which finds no credentials here; nothing where there is no crane.
    pub(crate) fn crane(&self, args: &[&str]) -> Option<Command> {
        let mut command = Command::new(self.place.crane()?);
        command.args(args).stdin(std::process::Stdio::null()).env("HOME", &self.folder);
        Some(command)
    }

    /// Another client with this instance's kubeconfig; nothing where it was not built.
    pub(crate) fn client(&self, path: &str) -> Option<Command> {
        Some(self.with_kubeconfig(&self.place.tool(path)?))
    }

    fn with_kubeconfig(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(std::process::Stdio::null());
        command.env("KUBECONFIG", self.folder.join("kubeconfig")).env("HOME", &self.folder);
        command
    }

    /// A path in the project.
    pub(crate) fn workspace(&self, path: &str) -> PathBuf {
        self.place.workspace(path)
    }

    /// What `kwick status -o json` says.
    pub(crate) fn status(&self) -> Result<Value> {
        let said = place::output(&mut self.kwick(&["status", "-o", "json"]))?;
        serde_json::from_str(&said).with_context(|| format!("kwick status is not JSON: {said}"))
    }

    /// The process id of Kwick itself.
    pub(crate) fn pid(&self) -> Result<i32> {
        pid(&self.status()?, "/pid")
    }

    /// The process id of its spawner.
    pub(crate) fn spawner_pid(&self) -> Result<i32> {
        pid(&self.status()?, "/spawnerPid")
    }

    /// Makes an image of the sample's binary and gives it this name.
    pub(crate) fn import_hello(&self, name: &str) -> Result<()> {
        self.pack("hello", name)
    }

    /// Makes an image of a binary built beside this program and gives it this name.
    pub(crate) fn pack(&self, binary: &str, name: &str) -> Result<()> {
        let binary = self.place.binary(binary).display().to_string();
        let mut pack = self.kwick(&["image", "pack", &binary, "--name", name, "--port", "8080"]);
        place::output(&mut pack).map(|_| ())
    }

    /// Ends Kwick alone, by a signal; returns when the process is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid()?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal process {pid}"))?;
        until_true("the end of kwick", END_WITHIN, || Ok(!is_running(pid)))
    }

    /// Kills its spawner; returns when Kwick is gone, too, which cannot go on without.
    pub(crate) fn kill_spawner(&self) -> Result<()> {
        let (pid, spawner) = (self.pid()?, self.spawner_pid()?);
        kill(Pid::from_raw(spawner), Signal::SIGKILL).with_context(|| format!("cannot kill process {spawner}"))?;
        until_true("the end of kwick", END_WITHIN, || Ok(!is_running(pid)))
    }

    /// Takes it down and deletes its data; fails when that fails.
    pub(crate) fn down(mut self) -> Result<()> {
        self.is_up = false;
        Self::end(self.place, &self.folder)
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        if self.is_up
            && let Err(error) = Self::end(self.place, &self.folder)
        {
            println!("cleaning up: {error:#}");
        }
    }
}

fn pid(status: &Value, pointer: &str) -> Result<i32> {
    let pid =
        status.pointer(pointer).and_then(Value::as_i64).with_context(|| format!("kwick status has no {pointer}"))?;
    i32::try_from(pid).context("a process id that is none")
}

/// Whether there is such a process that has not ended.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name, which is in parentheses and may contain anything.
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

/// How long something took, with its result.
pub(crate) fn timed<T>(act: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    let result = act()?;
    Ok((result, begun.elapsed()))
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Fails, saying what, unless it holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { bail!(what()) }
}
