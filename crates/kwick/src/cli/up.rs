//! `kwick up`: as root, everything that must be there before the unprivileged process; then this process becomes it.
//!
//! ```text
//! look at the machine, the directory, the addresses ► data directory ► lock ► upgrade ► record ► keys, kubeconfig ► spawner
//!   ► exec `kwick __serve`
//! ```
//! Whatever is refused is refused before anything was started, and a directory is made only for a start that can succeed (exit code 2).
//!
//! As the first process of a container it is the other way round, because that process is everybody's end: it becomes the spawner, which
//! starts the same command again as its child.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use cluster_apiserver::Entropy;
use cluster_apiserver::pki::PkiError;
use cluster_sandbox::spec::SpawnerFacts;
use cluster_sandbox::{SpawnerConfig, launch, privileges};
use kwick::assembly::Level;

use super::audit::Audit;
use super::{Addresses, Instance, doctor, down, log_filter, say};
use crate::exit::{Ended, FAILED, Refused};
use crate::instance::data_dir::DataDir;
use crate::instance::lock::{Holder, Lock};
use crate::instance::record::Record;
use crate::instance::spawner::MYSELF;
use crate::instance::{access, kubeconfig, layout, ports, root, spawner};
use crate::serve::READY;

const DEFAULT_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);
const DEFAULT_REGISTRY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);
/// The gateway's, in the order of preference.
const DEFAULT_GATEWAYS: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80),
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080),
];
/// The gateway's ports for TLS, in the order of preference.
const TLS_PORTS: [u16; 2] = [443, 8443];
/// A log of this size is gone on with at the next start.
const KEEP_LOG_BYTES: u64 = 8 << 20;
/// What of root's environment the unprivileged process gets; all else came to it as arguments.
const ENVIRONMENT: [&str; 4] = ["RUST_BACKTRACE", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ"];
/// The allocator looks ten times as often as by default for blocks that other threads have freed, and among more pages for one that is nearly
/// full: otherwise what stays after a busy time keeps the memory of all of it.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_GENERIC_COLLECT", "1000"), ("MIMALLOC_PAGE_MAX_CANDIDATES", "16")];
/// The shortest time to keep pods for: within it the process that a start leads to has to be there.
const KEEP_MIN: Duration = Duration::from_secs(10);

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
    /// How long pods run on while no kwick does, as 90s, 10m or 24h; at least 10s. It is the spawner that keeps them, from its start on.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_time)]
    keep_pods_for: Duration,
    /// How many pods' networks are made ahead while nothing starts, so that their starts have less to do. Each costs some memory. It is the
    /// spawner that makes them, from its start on.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=i64::from(SpawnerConfig::PARKED_PODS_MAX)))]
    parked_pods: u8,
    /// A registry that may be spoken to without TLS, besides those at loopback and private addresses; may be given several times. Kept for
    /// the next start; what is given replaces it, and an empty HOST removes all.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = registry_host)]
    plain_http_registry: Vec<String>,
    /// The Secret with the certificate and key (`tls.crt`, `tls.key`) of the authority that signs the certificates of services; made if it is
    /// not there [default: knative-serving/kwick-serving-ca]. Kept for the next start.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = secret_name)]
    ca_secret: Option<String>,
    /// The class of the Certificates that are issued here; those of other classes are left to others [default: Knative's own]. Kept for the
    /// next start.
    #[arg(long, value_name = "CLASS")]
    certificate_class: Option<String>,
    /// What is logged to standard error (with --detach to DIR/kwick.log), as a `tracing` filter.
    #[arg(long, env = "KWICK_LOG", default_value = "warn", value_name = "FILTER", value_parser = log_filter)]
    log: String,
    #[command(flatten)]
    audit: Audit,
    /// This is the process that `--detach` starts.
    #[arg(long, hide = true)]
    detached: bool,
}

/// What a start will be.
struct Settled {
    record: Record,
    config: SpawnerConfig,
    /// What the instance's spawner says of itself, if one runs already.
    running: Option<SpawnerFacts>,
}

impl Up {
    pub(super) fn run(&self) -> Result<()> {
        root::require("kwick up")?;
        match (self.detach, launch::is_first_process()) {
            (false, _) => self.become_kwick(),
            (true, false) => self.start_apart(),
            (true, true) => Err(Refused::error(
                "the first process of a container cannot detach: with its end everything else ends",
                "start it without --detach",
            )),
        }
    }

    /// Prepares everything and turns into the unprivileged process.
    fn become_kwick(&self) -> Result<()> {
        if self.detached {
            nix::unistd::setsid().context("cannot leave the terminal")?;
        }
        // What is made gets the modes that it is made with, whatever the caller's are.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let dir = self.instance.dir()?;
        doctor::refuse_if_missing(&doctor::look(dir.path()))?;
        dir.check()?;
        if !dir.is_initialised() {
            self.settle(&dir)?;
        }
        dir.create()?;
        let lock = down::take_lock(&dir)?.map_err(|holder| in_use(&dir, holder))?;
        layout::upgrade(&dir)?;
        let Settled { mut record, mut config, running } = self.settle(&dir)?;
        dir.hand_over(record.uid)?;
        record.save(&dir)?;
        if running.is_none() && launch::is_first_process() {
            config.child = Some(spawner::same_command()?);
            return Err(launch::become_spawner(&config)).context("cannot become the spawner");
        }
        lock.announce(&dir)?;
        let audit = self.audit.prepare(&dir, record.uid)?;
        let access = access::prepare(&dir, &record).map_err(unusable_keys)?;
        kubeconfig::write(&dir, &access, root::invoker())?;
        let log = self.detached.then(|| open_log(&dir)).transpose()?;
        let is_new = running.is_none();
        let facts = match running {
            Some(facts) => facts,
            None => launch::start(MYSELF.as_ref(), &config).map_err(|error| anyhow!(error))?,
        };
        record.network = facts.network.map(|network| network.ranges);
        let error = match record.save(&dir) {
            Ok(()) => self.turn(&dir, &lock, &config, log, &audit),
            Err(error) => error,
        };
        if is_new {
            // Nobody's pods are there yet. What cannot be ended now, `kwick down` ends.
            let _ = down::end_spawner(&config);
        }
        Err(error)
    }

    /// Turns this process into the unprivileged one; why it could not.
    fn turn(
        &self,
        dir: &DataDir,
        lock: &Lock,
        config: &SpawnerConfig,
        log: Option<File>,
        audit: &[OsString],
    ) -> anyhow::Error {
        let mut command = Command::new(MYSELF);
        let passed = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.env_clear().envs(passed).envs(ALLOCATOR);
        command.arg0("kwick").arg("__serve").arg("--data-dir").arg(dir.path()).arg("--log").arg(&self.log);
        command.arg("--only").arg(self.only.to_string()).args(audit);
        command.current_dir("/");
        let prepare = || {
            privileges::raise_descriptor_limit().context("cannot raise the limit of open files")?;
            log.as_ref().map_or(Ok(()), |log| nix::unistd::dup2_stderr(log).context("cannot log to kwick.log"))
        };
        if self.detached {
            command.arg("--detached");
        }
        match prepare() {
            Ok(()) => anyhow!(privileges::exec_as(config.owner, &mut command, &[lock.as_fd()]))
                .context("cannot become the unprivileged process"),
            Err(error) => error,
        }
    }

    /// What this start will be, of what is in the directory and what was asked for; refused here if it cannot be. Changes nothing.
    fn settle(&self, dir: &DataDir) -> Result<Settled> {
        let mut record = match Record::load(dir)? {
            Some(record) => record,
            None => Record::new(&Entropy::from_os()),
        };
        dir.check_reachable(record.uid)?;
        self.audit.check(record.uid)?;
        let mut config = record.spawner_config(dir)?;
        config.parked_pods = self.parked_pods;
        config.orphan_wait_ms = u64::try_from(self.keep_pods_for.as_millis()).unwrap_or(u64::MAX);
        let running = spawner::find(&config)?;
        self.choose_addresses(&mut record, running.is_some())?;
        if !self.plain_http_registry.is_empty() {
            let given = self.plain_http_registry.iter().filter(|host| !host.is_empty());
            record.plain_http_registries = given.cloned().collect();
        }
        if self.ca_secret.is_some() {
            record.authority_secret.clone_from(&self.ca_secret);
        }
        if self.certificate_class.is_some() {
            record.certificate_class.clone_from(&self.certificate_class);
        }
        Ok(Settled { record, config, running })
    }

    /// Chooses each address once; an explicit one replaces it. A port that somebody else has is refused, with its owner.
    fn choose_addresses(&self, record: &mut Record, runs: bool) -> Result<()> {
        let old = [record.api, record.registry, record.gateway, record.gateway_tls];
        // The spawner of this instance has kept those that it was asked for.
        let is_ours = |address: SocketAddr| runs && old.contains(&Some(address));
        let check = |address: SocketAddr, flag: &str| {
            if is_ours(address) { Ok(address) } else { free(address).map_err(|error| taken(address, flag, &error)) }
        };
        let Addresses { gateway_addr, gateway_tls_addr, api_addr, registry_addr } = self.addresses;
        let api = api_addr.or(record.api).unwrap_or(DEFAULT_API);
        let registry = registry_addr.or(record.registry).unwrap_or(DEFAULT_REGISTRY);
        let is_free = |address: &SocketAddr| ![api, registry].contains(address) && free(*address).is_ok();
        let gateway = gateway_addr.or(record.gateway);
        let gateway = gateway.or_else(|| DEFAULT_GATEWAYS.into_iter().find(is_free)).unwrap_or(DEFAULT_GATEWAYS[1]);
        let tls = gateway_tls_addr.or(record.gateway_tls);
        let tls = match tls.or_else(|| TLS_PORTS.map(|port| (gateway.ip(), port).into()).into_iter().find(is_free)) {
            Some(tls) => tls,
            None => any_port(gateway.ip()).context("no port is free for the gateway's TLS")?,
        };
        let named = [
            (api, "--api-addr"),
            (registry, "--registry-addr"),
            (gateway, "--gateway-addr"),
            (tls, "--gateway-tls-addr"),
        ];
        refuse_overlap(&named)?;
        for ((address, flag), level) in named.into_iter().zip([Level::Api, Level::Cluster, Level::All, Level::All]) {
            if self.only >= level {
                check(address, flag)?;
            }
        }
        (record.api, record.registry) = (Some(api), Some(registry));
        (record.gateway, record.gateway_tls) = (Some(gateway), Some(tls));
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

fn in_use(dir: &DataDir, holder: Holder) -> anyhow::Error {
    match holder {
        Holder::Kwick(pid) => Refused::error(
            format!("{} is in use by kwick (pid {pid})", dir.path().display()),
            "use that instance (`kwick status`), end it (`kwick down`), or choose another --data-dir",
        ),
        Holder::Command => Refused::error(
            format!("another `kwick up` or `kwick down` is at work on {}", dir.path().display()),
            "try again in a moment",
        ),
    }
}

/// A key that is lost is not made anew: what it signed would not be trusted any more.
fn unusable_keys(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<PkiError>() {
        Some(PkiError::Half { .. }) => Refused::error(
            format!("{error:#}"),
            "restore the file from a copy, or remove DIR/pki/ca.crt and DIR/pki/ca.key for a new authority; clients then need the new kubeconfig",
        ),
        _ => error,
    }
}

/// Where a detached Kwick logs. A long log is kept beside the new one.
fn open_log(dir: &DataDir) -> Result<File> {
    let path = dir.join("kwick.log");
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > KEEP_LOG_BYTES) {
        std::fs::rename(&path, dir.join("kwick.log.1")).context("cannot put the old kwick.log aside")?;
    }
    let log = OpenOptions::new().append(true).create(true).mode(0o644).open(&path);
    log.with_context(|| format!("cannot open {}", path.display()))
}

/// `90s`, `10m`, `24h`.
fn parse_time(text: &str) -> std::result::Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(u64::from(count) * seconds))
    });
    match parsed {
        Some(time) if time >= KEEP_MIN => Ok(time),
        Some(_) => Err(format!("it is less than {} seconds", KEEP_MIN.as_secs())),
        None => Err("it should be a number with s, m or h behind it, such as 10m".to_owned()),
    }
}

/// A registry's name as it stands in images' names.
fn registry_host(text: &str) -> std::result::Result<String, String> {
    let is_host =
        text.is_empty() || text.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    if is_host { Ok(text.to_owned()) } else { Err("it is no HOST or HOST:PORT".to_owned()) }
}

/// Port 0 is none that clients could be told, and one address serves one purpose.
fn refuse_overlap(named: &[(SocketAddr, &str)]) -> Result<()> {
    let mut seen: Vec<(SocketAddr, &str)> = Vec::new();
    for &(address, flag) in named {
        if address.port() == 0 {
            return Err(Refused::error(format!("{flag} {address} names no port"), "name one from 1 to 65535"));
        }
        let overlaps = |&(other, _): &&(SocketAddr, &str)| {
            other.port() == address.port()
                && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((other, other_flag)) = seen.iter().find(overlaps) {
            let what = format!("{other_flag} {other} and {flag} {address} are the same port");
            return Err(Refused::error(what, format!("choose another port with {flag}")));
        }
        seen.push((address, flag));
    }
    Ok(())
}

/// A Secret's namespace and name.
fn secret_name(text: &str) -> std::result::Result<String, String> {
    let is_named = text
        .split_once('/')
        .is_some_and(|(namespace, name)| [namespace, name].iter().all(|part| !part.is_empty() && !part.contains('/')));
    if is_named { Ok(text.to_owned()) } else { Err("it is no NAMESPACE/NAME".to_owned()) }
}

/// An address of `ip` that nobody listens on now.
fn any_port(ip: IpAddr) -> std::io::Result<SocketAddr> {
    TcpListener::bind((ip, 0))?.local_addr()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_a_least() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_time("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "10", "m", "1.5h", "-1m", "10 m", "9s", "0h", "99999999999h"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_serves_one_purpose() {
        let refused = |one: &str, other: &str| {
            let named = [(one.parse().unwrap(), "--api-addr"), (other.parse().unwrap(), "--gateway-addr")];
            refuse_overlap(&named).err().map(|error| error.to_string())
        };
        assert_eq!(refused("127.0.0.1:80", "127.0.0.1:81"), None);
        assert_eq!(refused("127.0.0.1:80", "127.0.0.2:80"), None);
        for (one, other) in [("127.0.0.1:80", "127.0.0.1:80"), ("0.0.0.0:80", "127.0.0.1:80"), ("[::1]:80", "[::]:80")]
        {
            let said = refused(one, other).unwrap();
            assert!(said.contains("--api-addr") && said.contains("--gateway-addr"), "{said}");
        }
        assert!(refused("127.0.0.1:80", "127.0.0.1:0").unwrap().contains("names no port"));
    }

    #[test]
    fn a_secret_is_in_a_namespace() {
        assert_eq!(secret_name("team/ca").as_deref(), Ok("team/ca"));
        for text in ["", "ca", "team/", "/ca", "a/b/c"] {
            assert!(secret_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registries_are_hosts_with_or_without_a_port() {
        for text in ["registry.example", "registry.example:5000", "203.0.113.1", "[::1]:5000", ""] {
            assert_eq!(registry_host(text).as_deref(), Ok(text));
        }
        for text in ["http://registry.example", "registry.example/team", "a b", "me@registry.example"] {
            assert!(registry_host(text).is_err(), "{text}");
        }
    }
}
