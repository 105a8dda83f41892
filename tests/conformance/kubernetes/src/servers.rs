//! The two servers: Kwick's in this process, and a kube-apiserver with its etcd as processes, all on loopback and without controllers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use base_rt::{Clock, Phase, Shutdown, ShutdownHandle, Tasks};
use cluster_apiserver::pki::{Authority, Credentials};
use cluster_apiserver::store::journal::memory::MemoryDisk;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity, ServiceAccountKey, TlsFiles};
use kube_oracle::Durability;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::client::{Client, Endpoint, Wire};
use crate::until::until;

const TOKEN: &str = "conformance-administrator";
const READY_WITHIN: Duration = Duration::from_secs(90);

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
    servers: kube_oracle::Oracle,
}

impl Oracle {
    /// Starts the programs of `programs` on data in `folder`, and waits until they are ready.
    pub(crate) async fn start(programs: &Path, folder: &Path, secrets: &Secrets, tasks: &Tasks) -> Result<Self> {
        let given = kube_oracle::Secrets {
            certificate_pem: &secrets.serving.certificate_pem,
            key_pem: &secrets.serving.key_pem,
            token: TOKEN,
        };
        let servers = kube_oracle::Oracle::start(programs, folder, &given, Durability::Unsynced)?;
        let mut oracle = Self { endpoint: secrets.endpoint(servers.address, tasks), servers };
        oracle.wait().await?;
        Ok(oracle)
    }

    async fn wait(&mut self) -> Result<()> {
        let ready = Wire { method: "GET", path: "/readyz".into(), content_type: "", body: None };
        let mut client = Client::new(self.endpoint.clone());
        until("kube-apiserver is ready", READY_WITHIN, async || {
            self.servers.check()?;
            Ok(client.ask(&ready).await.is_ok_and(|answer| answer.is_success()).then_some(()))
        })
        .await
    }
}
