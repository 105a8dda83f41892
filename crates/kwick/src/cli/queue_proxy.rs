//! `kwick queue-proxy`: the sidecar of a Revision's Pods as a process, for nodes that do not have it built in.
//!
//! It is what runs inside Kwick ([`crate::serve`]), told the same by the same environment, on sockets of its own. SIGTERM has it drain: it
//! serves until no request has come for Knative's quiet period and none is in flight, and ends. The autoscaler finds its report on port 9090.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use base_net::connect::Connector;
use base_rt::{Clock, Phase, Shutdown, Tasks};
use clap::Args;
use knative_proxy::queue::{self, Config, KNATIVE_QUIET, QueueParts};
use tokio::signal::unix::{SignalKind, signal};

use crate::serve::queue::PORTS;

/// Its environment says what it does.
#[derive(Debug, Args)]
pub(super) struct QueueProxy {
    /// What is logged, as a `tracing` filter.
    #[arg(long, env = "KWICK_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
}

impl QueueProxy {
    pub(super) fn run(&self) -> Result<()> {
        base_rt::trace::init(&self.log, base_rt::trace::Format::Text).context("the log filter is not one")?;
        super::block_on(serve())?
    }
}

async fn serve() -> Result<()> {
    // From here on the signal is noticed, however long the start takes.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let environment: BTreeMap<_, _> =
        std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
    let config = Config::from_env(&environment).context("the environment does not say what queue-proxy is to do")?;
    let listeners = listen([config.serving_port, config.serving_tls_port])?;
    let (end, shutdown) = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let queue = queue::start(QueueParts {
        config,
        listeners,
        files: Arc::new(|path: &str| std::fs::read(path).ok()),
        connector: Connector::new(),
        local: None,
        stats: None,
        workers: 0,
        quiet: KNATIVE_QUIET,
        clock: Clock::system(),
        tasks: tasks.clone(),
        shutdown,
        // Who has closed standard output reads no log.
        log: Arc::new(|lines: &[u8]| drop(std::io::stdout().lock().write_all(lines))),
    })
    .context("queue-proxy does not start")?;
    tokio::select! {
        biased;
        _ = terminate.recv() => end.advance(Phase::Lame),
        failure = tasks.failure() => return Err(anyhow!(failure)),
    }
    queue.ended().await;
    end.advance(Phase::Stopped);
    Ok(())
}

/// Sockets on every address of the Pod.
fn listen(serving_ports: [u16; 2]) -> Result<BTreeMap<u16, TcpListener>> {
    let ports = PORTS.into_iter().filter_map(|port| u16::try_from(port).ok()).chain(serving_ports);
    let bind = |port| {
        // Where there is IPv6 its wildcard takes both.
        let socket = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_no_ipv6| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
        socket.with_context(|| format!("cannot listen on port {port}"))
    };
    let ports: std::collections::BTreeSet<u16> = ports.collect();
    ports.into_iter().map(|port| Ok((port, bind(port)?))).collect()
}
