//! The command line: one file per command. `--help` of each shows examples; an error names what to do next.

mod audit;
mod doctor;
mod down;
mod env;
mod explain;
mod gateway;
mod image;
mod queue_proxy;
mod status;
pub(crate) mod table;
mod up;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kwick::assembly::Level;

use crate::exit::{Ended, FAILED};
use crate::instance::data_dir::DataDir;
use crate::instance::lock;
use crate::instance::record::Record;
use crate::{exit, serve};

/// How long a server of this machine may take to accept a connection.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Knative on one machine, without Kubernetes: one binary that serves Knative's own API.
#[derive(Debug, Parser)]
#[command(
    name = "kwick",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  sudo kwick up                      start in the foreground; Ctrl-C ends everything
  sudo kwick up --detach             start in the background
  eval \"$(kwick env)\"                let kubectl, kn and func use it
  kwick image import hello.tar --name hello
  kn service create hello --image hello
  sudo kwick down                    stop; keeps the data
"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start an instance on this machine (needs root).
    Up(up::Up),
    /// Stop an instance and leave nothing of it running (needs root). Pods have the time to end that they ask for, 30 seconds at most.
    Down(down::Down),
    /// Show what runs.
    Status(status::Status),
    /// Say why a Service is as it is: what is wrong, what scales it, where a request goes, and what to do next.
    Explain(explain::Explain),
    /// Say what this machine lacks, why it matters, and how to fix it.
    Doctor(doctor::Doctor),
    /// Import, list, remove and make images.
    Image(image::Image),
    /// Print the export that makes kubectl and kn use this instance.
    Env(env::Env),
    /// Serve the Ingresses of a Knative that runs elsewhere.
    #[command(hide = true)]
    Gateway(gateway::Gateway),
    /// Stand in front of the user's container in a Pod of a Revision, as the environment says.
    #[command(hide = true)]
    QueueProxy(queue_proxy::QueueProxy),
    /// The unprivileged process that `up` becomes.
    #[command(name = "__serve", hide = true)]
    Serve(Serve),
}

/// Which instance a command means.
#[derive(Args, Clone, Debug)]
pub(crate) struct Instance {
    /// Where the instance keeps its data.
    #[arg(long, env = "KWICK_DATA_DIR", default_value = DataDir::DEFAULT, value_name = "DIR", global = true)]
    data_dir: PathBuf,
}

impl Instance {
    fn dir(&self) -> Result<DataDir> {
        DataDir::at(&self.data_dir)
    }
}

/// A form that answers can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// JSON.
    Json,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    instance: Instance,
    #[arg(long, default_value_t = Level::All)]
    only: Level,
    /// Standard output is a pipe that somebody reads until it is closed.
    #[arg(long)]
    detached: bool,
    /// What is logged, as a `tracing` filter.
    #[arg(long, env = "KWICK_LOG", default_value = "warn", value_name = "FILTER", value_parser = log_filter)]
    log: String,
    #[command(flatten)]
    audit: audit::Audit,
}

/// Checked before anything else happens, whoever will use it.
fn log_filter(text: &str) -> Result<String, base_rt::trace::ParseError> {
    base_rt::trace::check(text).map(|()| text.to_owned())
}

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Up(up) => up.run(),
        Command::Down(down) => down.run(),
        Command::Status(status) => status.run(),
        Command::Explain(explain) => explain.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Image(image) => image.run(),
        Command::Env(env) => env.run(),
        Command::Gateway(gateway) => gateway.run(),
        Command::QueueProxy(queue_proxy) => queue_proxy.run(),
        Command::Serve(Serve { instance, only, detached, log, audit }) => {
            let part_logs = serve::PartLogs::default();
            let beside = (serve::PartLogs::FILTER, part_logs.clone());
            base_rt::trace::init_beside(&log, base_rt::trace::Format::Text, beside)
                .context("the log filter is not one")?;
            let (dir, audit) = (instance.dir()?, audit.config()?);
            let options = serve::Options { dir, level: only, is_detached: detached, part_logs, audit };
            let outcome = serve::run(&options);
            if let (true, Err(error)) = (detached, &outcome) {
                // Whoever waits for the start hears it; afterwards nobody listens here.
                say(exit::sentence(error))?;
            }
            outcome
        }
    }
}

/// Where one of the running instance's servers is reached.
///
/// # Errors
/// Nothing runs there.
fn require_running(dir: &DataDir, server: fn(&Record) -> Option<SocketAddr>) -> Result<SocketAddr> {
    let address = Record::load(dir)?.and_then(|record| server(&record)).map(from_here);
    // A Kwick in another PID namespace is not known by its process id, but it answers.
    let heard = address
        .map_or(Heard::Nobody, |address| if lock::running(dir).is_some() { Heard::Answer } else { Heard::of(address) });
    let (path, option) = (dir.path().display(), dir.option());
    let message = match (address, heard) {
        (Some(address), Heard::Answer) => return Ok(address),
        (Some(_), Heard::Silence) => format!(
            "kwick does not run on {path}; its spawner keeps the pods for a while: `sudo kwick up --detach{option}` takes them \
             back, `sudo kwick down{option}` ends them"
        ),
        _ => format!("nothing runs on {path}; start it with `sudo kwick up --detach{option}`"),
    };
    Err(Ended { code: FAILED, message }.into())
}

/// A client with the rights of a kubeconfig.
async fn connect(file: &Path) -> Result<kube::Client> {
    let read = kube::config::Kubeconfig::read_from(file).with_context(|| {
        format!("cannot read {} (an instance's own belongs to whoever ran `kwick up`)", file.display())
    })?;
    let config = kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await;
    kube::Client::try_from(config.context("cannot use the kubeconfig")?).context("cannot make a client")
}

/// Where a server that listens on every address is reached on this machine.
pub(crate) fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// What comes of speaking to a server.
enum Heard {
    /// Something, if only that it wants to hear something else.
    Answer,
    /// Somebody holds the socket and does not serve it: a spawner without its Kwick.
    Silence,
    /// Nobody listens.
    Nobody,
}

impl Heard {
    fn of(address: SocketAddr) -> Self {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWERS_WITHIN) else { return Self::Nobody };
        let asked =
            stream.set_read_timeout(Some(ANSWERS_WITHIN)).and_then(|()| stream.write_all(b"GET / HTTP/1.0\r\n\r\n"));
        match asked.and_then(|()| stream.read(&mut [0])) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Self::Silence,
            // A server of TLS may simply close.
            _ => Self::Answer,
        }
    }
}

/// A small runtime for a command that asks somebody something.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    Ok(runtime.block_on(future))
}

/// Standard output, the one way to it. A reader that went away is no error.
pub(crate) fn say(text: impl std::fmt::Display) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Progress and remarks for a person, beside the answer.
#[expect(clippy::print_stderr, reason = "this is where the command line speaks to the person")]
pub(crate) fn remark(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// Addresses that may be chosen.
#[derive(Args, Clone, Copy, Debug, Default)]
struct Addresses {
    /// Where the gateway listens [default: 127.0.0.1:80, or :8080 when port 80 is taken; chosen once].
    #[arg(long, value_name = "IP:PORT")]
    gateway_addr: Option<SocketAddr>,
    /// Where the gateway listens for TLS [default: port 443 of --gateway-addr, or 8443, or any; chosen once].
    #[arg(long, value_name = "IP:PORT")]
    gateway_tls_addr: Option<SocketAddr>,
    /// Where the Kubernetes API listens [default: 127.0.0.1:6443].
    #[arg(long, value_name = "IP:PORT")]
    api_addr: Option<SocketAddr>,
    /// Where the image registry listens [default: 127.0.0.1:5000].
    #[arg(long, value_name = "IP:PORT")]
    registry_addr: Option<SocketAddr>,
}
