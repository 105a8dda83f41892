//! The servers that are measured, and a client of theirs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube_oracle::{Durability, Oracle, Secrets};
use rcgen::{CertificateParams, KeyPair};

use crate::api::trusting;
use crate::http::{Answer, Connection, Request, Target};
use crate::instance::Instance;
use crate::place::Place;
use crate::until::until;

const READY_WITHIN: Duration = Duration::from_secs(90);
const TOKEN: &str = "bench-administrator";

/// A running API server.
pub(super) struct Server {
    target: Target,
    bearer: String,
    /// Its processes.
    pub(super) pids: Vec<i32>,
}

impl Server {
    /// A Kwick that has nothing but its API.
    pub(super) fn of(kwick: &Instance<'_>) -> Result<Self> {
        let bearer = format!("Bearer {}", kwick.api.token());
        Ok(Self { target: kwick.api.target().clone(), bearer, pids: vec![kwick.pid()?] })
    }

    /// A client with a connection of its own.
    pub(super) fn connect(&self) -> Result<Client<'_>> {
        Ok(Client { server: self, connection: Some(self.target.connect()?) })
    }
}

/// One connection, for one request after another.
pub(super) struct Client<'a> {
    server: &'a Server,
    connection: Option<Connection>,
}

impl Client<'_> {
    /// Sends a request whose answer is read as it comes.
    pub(super) fn open(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let host = self.server.target.address.to_string();
        let headers = [
            ("Host", host.as_str()),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("Authorization", &self.server.bearer),
            ("User-Agent", "kwick-bench"),
        ];
        let connection = self.connection.take().context("the connection is in use")?;
        connection.send(&Request { method, path, headers: &headers, body })
    }

    /// A request and the body of its answer.
    ///
    /// # Errors
    /// Among others, the answer is no success.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let answer = self.open(method, path, body)?;
        let status = answer.status;
        let (body, connection) = answer.read()?;
        self.connection = Some(connection);
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

/// A kube-apiserver with its etcd; they end with this value.
pub(super) struct Kube {
    pub(super) server: Server,
    _oracle: Oracle,
}

impl Kube {
    /// Starts them as they are meant to be run, and waits until they are ready.
    pub(super) fn start(place: &Place) -> Result<Self> {
        let program = place.tool("kube-apiserver").context("kube-apiserver is built by `cargo xtask test --full`")?;
        let programs = program.parent().context("a program without a folder")?;
        let folder = place.scratch("kube");
        std::fs::create_dir_all(&folder)?;
        let key = KeyPair::generate()?;
        let certificate_pem = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?.pem();
        let secrets = Secrets { certificate_pem: &certificate_pem, key_pem: &key.serialize_pem(), token: TOKEN };
        let mut oracle = Oracle::start(programs, &folder, &secrets, Durability::Synced)?;
        let tls = Some(Arc::new(trusting(certificate_pem.as_bytes())?));
        let target = Target { tls, ..Target::plain(oracle.address) };
        let pids = oracle.pids().into_iter().map(i32::try_from).collect::<Result<_, _>>()?;
        let server = Server { target, bearer: format!("Bearer {TOKEN}"), pids };
        let is_ready = || server.connect()?.ask("GET", "/readyz", b"");
        until("kube-apiserver", READY_WITHIN, || {
            oracle.check()?;
            is_ready().map(Some)
        })?;
        Ok(Self { server, _oracle: oracle })
    }
}
