//! The two servers: Kwick's in this process, and a kube-apiserver with its etcd as processes, all on loopback and without controllers.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, Tasks};
use cluster_apiserver::pki::{Authority, Credentials};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity, ServiceAccountKey, TlsFiles};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::client::{Client, Endpoint, Wire};

const TOKEN: &str = "conformance-administrator";
const READY_WITHIN: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What both servers are given: an authority, and a certificate and its key.
pub(crate) struct Secrets {
    authority: Authority,
    serving: Credentials,
    tls: Arc<rustls::ClientConfig>,
}

impl Secrets {
    /// New ones.
    pub(crate) fn generate() -> Result<Self> {
        let now = Clock::system().now();
        let authority = Authority::generate(now)?;
        let serving = authority.server(&["127.0.0.1".to_owned()], now)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())?)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { authority, serving, tls: Arc::new(tls) })
    }

    fn endpoint(&self, address: SocketAddr, tasks: &Tasks) -> Endpoint {
        Endpoint { address, token: TOKEN.to_owned(), tls: Arc::clone(&self.tls), tasks: tasks.clone() }
    }
}

/// Kwick's API server, served over HTTPS from this process.
pub(crate) struct Kwick {
    pub(crate) endpoint: Endpoint,
    pub(crate) tasks: Tasks,
    shutdown: ShutdownHandle,
}

impl Kwick {
    /// Starts one with an empty store.
    pub(crate) async fn start(secrets: &Secrets) -> Result<Self> {
        let (shutdown, observer) = Shutdown::new();
        let tasks = Tasks::new(observer);
        let key = ServiceAccountKey::from_pem(&ServiceAccountKey::generate_pem()?)?;
        let config = ApiServerConfig {
            tokens: vec![(TOKEN.to_owned(), Identity::master("admin"))],
            ..ApiServerConfig::new(MemoryDisk::new().journal(), Clock::system(), tasks.clone(), key)
        };
        let server = ApiServer::start(config).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let files = TlsFiles {
            certificate_pem: secrets.serving.certificate_pem.clone(),
            key_pem: secrets.serving.key_pem.clone(),
            client_authority_pem: secrets.authority.certificate_pem().to_owned(),
        };
        server.serve(vec![listener], &files)?;
        Ok(Self { endpoint: secrets.endpoint(address, &tasks), tasks, shutdown })
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        for phase in [Phase::Lame, Phase::Drained, Phase::Stopped] {
            self.shutdown.advance(phase);
        }
    }
}

/// A kube-apiserver and its etcd; they end with this value.
pub(crate) struct Oracle {
    pub(crate) endpoint: Endpoint,
    _processes: Vec<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Oracle {
    /// Starts the programs of `programs` on data in `folder`, and waits until they are ready.
    pub(crate) async fn start(programs: &Path, folder: &Path, secrets: &Secrets, tasks: &Tasks) -> Result<Self> {
        let [etcd, peer, api] = free_ports()?;
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let store = start(&programs.join("etcd"), folder, &etcd_options(folder, &etcd_url, peer))?;
        let server = start(&programs.join("kube-apiserver"), folder, &api_options(folder, &etcd_url, api, secrets)?)?;
        let endpoint = secrets.endpoint((Ipv4Addr::LOCALHOST, api).into(), tasks);
        let mut oracle = Self { endpoint, _processes: vec![store, server] };
        oracle.wait(folder).await?;
        Ok(oracle)
    }

    async fn wait(&mut self, folder: &Path) -> Result<()> {
        let ready = Wire { method: "GET", path: "/readyz".into(), content_type: "", body: None };
        let mut client = Client::new(self.endpoint.clone());
        let until = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            if client.ask(&ready).await.is_ok_and(|answer| answer.is_success()) {
                return Ok(());
            }
            let ended = self._processes.iter_mut().any(|process| !matches!(process.0.try_wait(), Ok(None)));
            if ended || tokio::time::Instant::now() > until {
                let log = std::fs::read_to_string(folder.join("kube-apiserver.log")).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("kube-apiserver did not become ready; its log ends (last first):\n{}", end.join("\n"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn free_ports() -> Result<[u16; 3]> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?;
    ports.try_into().map_err(|_| anyhow::anyhow!("three listeners have three ports"))
}

fn start(program: &Path, folder: &Path, options: &[String]) -> Result<Process> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::create(folder.join(format!("{name}.log")))?;
    let mut command = Command::new(program);
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(Process(command.spawn().with_context(|| format!("cannot start {}", program.display()))?))
}

/// Answers are compared, not endurance: nothing is synced to the disk.
fn etcd_options(folder: &Path, url: &str, peer: u16) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{peer}");
    let options = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ];
    options.into()
}

fn api_options(folder: &Path, etcd: &str, port: u16, secrets: &Secrets) -> Result<Vec<String>> {
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let certificate = file("serving.crt", &secrets.serving.certificate_pem)?;
    let key = file("serving.key", &secrets.serving.key_pem)?;
    Ok(vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=10.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.join("certificates").display()),
        format!("--tls-cert-file={certificate}"),
        format!("--tls-private-key-file={key}"),
        format!("--token-auth-file={}", file("tokens.csv", &format!("{TOKEN},admin,1,system:masters\n"))?),
        format!("--service-account-key-file={certificate}"),
        format!("--service-account-signing-key-file={key}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        "--endpoint-reconciler-type=none".into(),
        "--enable-priority-and-fairness=false".into(),
        "--profiling=false".into(),
    ])
}
