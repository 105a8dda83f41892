//! The API server of the instance: its store, its certificates, who its users are.

use std::net::TcpListener;

use anyhow::{Context, Result};
use cluster_apiserver::store::JournalError;
use cluster_apiserver::store::journal::sqlite::SqliteJournal;
use cluster_apiserver::{ApiServer, ApiServerConfig, ServiceRange, StartError, TlsFiles};
use cluster_sandbox::Sandbox;

use kwick::assembly::{OpenError, Process};

use super::{Options, status};
use crate::exit::Refused;
use crate::instance::access;
use crate::instance::record::Record;

/// Names that clients in the cluster know the server by.
const NAMES: [&str; 5] =
    ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// What the API server is made of: its store, its users, its network.
pub(super) fn configure(
    options: &Options,
    record: &Record,
    sandbox: &Sandbox,
    process: &Process,
) -> Result<ApiServerConfig> {
    let path = options.dir.join("state").join("api.db");
    let journal = SqliteJournal::open(&path).map_err(|error| unusable(&error))?;
    let key = access::service_account_key(&options.dir)?;
    let mut config = ApiServerConfig::new(Box::new(journal), process.clock, process.tasks.clone(), key);
    config.tokens = vec![access::administrator(&options.dir)?];
    config.address = record.api.map_or_else(String::new, |address| address.to_string());
    config.audit.clone_from(&options.audit);
    config.routes = vec![status::route(record, options.level, sandbox.facts())];
    if let Some(network) = &sandbox.facts().network {
        let (network, prefix_bits) = network.ranges.services;
        config.services = ServiceRange { network, prefix_bits, ..ServiceRange::default() };
    }
    Ok(config)
}

/// What is said of a store that cannot be used.
fn unusable(error: &JournalError) -> anyhow::Error {
    Refused::error(
        format!("the store cannot be used: {}", base_rt::error_chain(error)),
        "restore it from a copy, or use another --data-dir; nothing was changed",
    )
}

/// Why the control plane did not start. A store that is damaged past its first page shows it when it is read.
pub(super) fn refusal(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Start(StartError::Store(error)) => unusable(&error),
        other => anyhow::Error::from(other).context("cannot start the control plane"),
    }
}

/// Opens the API's doors.
pub(super) fn serve(
    options: &Options,
    record: &Record,
    sandbox: &Sandbox,
    server: &ApiServer,
    listeners: Vec<TcpListener>,
) -> Result<()> {
    server.serve(listeners, &tls(options, record, sandbox, server)?).context("cannot serve the API")
}

fn tls(options: &Options, record: &Record, sandbox: &Sandbox, server: &ApiServer) -> Result<TlsFiles> {
    let authority = access::authority(&options.dir)?;
    let mut names: Vec<String> = NAMES.map(str::to_owned).into();
    names.push("127.0.0.1".to_owned());
    names.push(server.service_address().to_string());
    names.extend(record.api.map(|address| address.ip().to_string()));
    if let Some(network) = &sandbox.facts().network {
        names.extend([network.bridge_ip, network.instance_ip].map(|ip| ip.to_string()));
    }
    names.sort_unstable();
    names.dedup();
    let credentials = access::server_certificate(&authority, &names)?;
    Ok(TlsFiles {
        certificate_pem: credentials.certificate_pem,
        key_pem: credentials.key_pem,
        client_authority_pem: authority.certificate_pem().to_owned(),
    })
}
