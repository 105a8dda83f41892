//! `kwick up`: as root, everything that must be there before the unprivileged process; then this process becomes it.
//!
//! ```text
//! look at the machine ► data directory ► lock ► record (id, uid, addresses) ► keys, kubeconfig ► spawner ► exec `kwick __serve`
//! ```
//! Whatever is refused is refused before anything was started (exit code 2).

use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use cluster_apiserver::Entropy;
use cluster_sandbox::{launch, privileges};
use kwick::assembly::Level;

use super::{Addresses, Instance, doctor, say};
use crate::exit::{Ended, FAILED, Refused};
use crate::instance::data_dir::DataDir;
use crate::instance::lock::Lock;
use crate::instance::record::Record;
use crate::instance::{access, kubeconfig, ports, root};
use crate::serve::READY;

const DEFAULT_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);
const DEFAULT_REGISTRY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
/// The gateway's, in the order of preference.
const DEFAULT_GATEWAYS: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80),
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080),
];
/// The program, whatever has become of its file since.
const MYSELF: &str = "/proc/self/exe";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo kwick up                                 in the foreground; Ctrl-C stops it and its pods
  sudo kwick up --detach                        returns when it is ready
  sudo kwick up --detach --data-dir /srv/two --gateway-addr 127.0.0.1:8081 --api-addr 127.0.0.1:6444 --registry-addr 127.0.0.1:5001

SIGTERM ends kwick and keeps the pods; the next `kwick up` takes them back.")]
pub(super) struct Up {
    #[command(flatten)]
    instance: Instance,
    #[command(flatten)]
    addresses: Addresses,
    /// Start the lower floors alone.
    #[arg(long, default_value_t = Level::All, hide_default_value = true, value_name = "api|cluster")]
    only: Level,
    /// Return when everything is ready.
    #[arg(long)]
    detach: bool,
    /// What is logged to standard error (with --detach to DIR/kwick.log), as a `tracing` filter.
    #[arg(long, env = "KWICK_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    /// This is the process that `--detach` starts.
    #[arg(long, hide = true)]
    detached: bool,
}

impl Up {
    pub(super) fn run(&self) -> Result<()> {
        root::require("kwick up")?;
        if self.detach { self.start_apart() } else { self.become_kwick() }
    }

    /// Prepares everything and turns into the unprivileged process.
    fn become_kwick(&self) -> Result<()> {
        if self.detached {
            nix::unistd::setsid().context("cannot leave the terminal")?;
        }
        let dir = self.instance.dir()?;
        doctor::refuse_if_missing(&doctor::look(dir.path()))?;
        dir.create_or_check()?;
        let mut lock = Lock::take(&dir)?.map_err(|pid| in_use(&dir, pid))?;
        lock.set_holder(std::process::id())?;
        let mut record = match Record::load(&dir)? {
            Some(record) => record,
            None => Record::new(&Entropy::from_os()),
        };
        let config = record.spawner_config(&dir)?;
        let runs = launch::is_running(&config);
        self.choose_addresses(&mut record, runs)?;
        dir.hand_over(record.uid)?;
        record.save(&dir)?;
        let access = access::prepare(&dir, &record)?;
        kubeconfig::write(&dir, &access, root::invoker())?;
        if !runs {
            let facts = launch::start(MYSELF.as_ref(), &config).map_err(|error| anyhow!(error))?;
            record.network = facts.network.map(|network| network.ranges);
            record.save(&dir)?;
        }
        lock.keep_over_exec()?;
        let mut command = Command::new(MYSELF);
        command.arg0("kwick").arg("__serve").arg("--data-dir").arg(dir.path()).arg("--log").arg(&self.log);
        command.arg("--only").arg(self.only.to_string());
        if self.detached {
            command.arg("--detached");
            let log = OpenOptions::new().append(true).create(true).mode(0o644).open(dir.join("kwick.log"));
            nix::unistd::dup2_stderr(log.context("cannot open kwick.log")?).context("cannot log to kwick.log")?;
        }
        command.current_dir("/");
        Err(privileges::exec_as(config.owner, &mut command)).context("cannot become the unprivileged process")
    }

    /// Chooses each address once; an explicit one replaces it. A port that somebody else has is refused, with its owner.
    fn choose_addresses(&self, record: &mut Record, runs: bool) -> Result<()> {
        let old = (record.api, record.registry, record.gateway);
        // The spawner of this instance has kept those that it was asked for.
        let is_ours = |address: SocketAddr| runs && [old.0, old.1, old.2].contains(&Some(address));
        let check = |address: SocketAddr, flag: &str| {
            if is_ours(address) { Ok(address) } else { free(address).map_err(|error| taken(address, flag, &error)) }
        };
        record.api = Some(check(self.addresses.api_addr.or(old.0).unwrap_or(DEFAULT_API), "--api-addr")?);
        record.registry =
            Some(check(self.addresses.registry_addr.or(old.1).unwrap_or(DEFAULT_REGISTRY), "--registry-addr")?);
        record.gateway = Some(match self.addresses.gateway_addr.or(old.2) {
            Some(address) => check(address, "--gateway-addr")?,
            None => match DEFAULT_GATEWAYS.into_iter().find(|address| free(*address).is_ok()) {
                Some(address) => address,
                None => check(DEFAULT_GATEWAYS[1], "--gateway-addr")?,
            },
        });
        Ok(())
    }

    /// Starts the same command apart from this terminal and waits until it says that it is ready.
    fn start_apart(&self) -> Result<()> {
        let mut command = Command::new(MYSELF);
        command.args(std::env::args_os().skip(1).filter(|argument| argument != "--detach")).arg("--detached");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start")?;
        let (mut said, mut complained) = (String::new(), String::new());
        // Standard output is closed when it is ready or has ended, standard error before it becomes unprivileged.
        if let Some(mut output) = child.stdout.take() {
            output.read_to_string(&mut said).context("cannot hear from the started process")?;
        }
        if let Some(mut output) = child.stderr.take() {
            output.read_to_string(&mut complained).context("cannot hear from the started process")?;
        }
        match said.strip_suffix(READY) {
            Some(said) => say(said.trim_end()),
            None => {
                let status = child.wait().context("cannot wait for the started process")?;
                Err(failed(status, complained.trim(), said.trim()))
            }
        }
    }
}

/// The started process ended: its own words and its exit code.
fn failed(status: ExitStatus, complained: &str, said: &str) -> anyhow::Error {
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED);
    let words = if complained.is_empty() { said } else { complained };
    let message = words.trim_start_matches("kwick: ").to_owned();
    Ended { code, message: if message.is_empty() { format!("it ended at once ({status})") } else { message } }.into()
}

fn in_use(dir: &DataDir, pid: i32) -> anyhow::Error {
    Refused::error(
        format!("{} is in use by kwick (pid {pid})", dir.path().display()),
        "use that instance (`kwick status`), end it (`kwick down`), or choose another --data-dir",
    )
}

/// Whether the address can be listened on.
fn free(address: SocketAddr) -> std::io::Result<SocketAddr> {
    TcpListener::bind(address).map(|_| address)
}

fn taken(address: SocketAddr, flag: &str, error: &std::io::Error) -> anyhow::Error {
    match ports::listener_of(address) {
        Some(owner) => Refused::error(
            format!("{address} is taken by {owner}"),
            format!("end that process, or choose another address with {flag}"),
        ),
        None => Refused::error(
            format!("cannot listen on {address}: {error}"),
            format!("choose another address with {flag}"),
        ),
    }
}
