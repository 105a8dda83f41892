//! Serves the bare API over HTTPS on a loopback port, for trying clients against it: `serve DIRECTORY PORT TOKEN`.
//!
//! The directory keeps the data, the authority (`ca.crt`) and the key of ServiceAccount tokens. The token's user is in `system:masters`.
//! Nothing but the API runs: no controller, no node.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use base_rt::{Clock, Phase, Shutdown, Tasks};
use cluster_apiserver::pki::{Authority, write_secret};
use cluster_apiserver::store::journal::sqlite::SqliteJournal;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity, ServiceAccountKey, TlsFiles};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    base_rt::trace::init("info", base_rt::trace::Format::Text)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, port, token] = arguments.as_slice() else {
        return Err("usage: serve DIRECTORY PORT TOKEN".into());
    };
    let (directory, port) = (Path::new(directory), port.parse::<u16>()?);
    std::fs::create_dir_all(directory)?;
    let clock = Clock::system();
    let (shutdown_handle, shutdown) = Shutdown::new();
    let tasks = Tasks::new(shutdown);
    let authority = Authority::load_or_generate(directory, clock.now())?;
    let key = service_account_key(&directory.join("sa.key"))?;
    let journal = SqliteJournal::open(&directory.join("store.db"))?;
    let config = ApiServerConfig {
        tokens: vec![(token.clone(), Identity { uid: "admin".to_owned(), ..Identity::master("admin") })],
        address: format!("127.0.0.1:{port}"),
        ..ApiServerConfig::new(Box::new(journal), clock, tasks.clone(), key)
    };
    let server = ApiServer::start(config).await?;
    let names = ["localhost", "127.0.0.1", "kubernetes.default.svc"].map(str::to_owned);
    let serving = authority.server(&names, clock.now())?;
    let files = TlsFiles {
        certificate_pem: serving.certificate_pem,
        key_pem: serving.key_pem,
        client_authority_pem: authority.certificate_pem().to_owned(),
    };
    server.serve(vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port))?], &files)?;
    tokio::select! {
        biased;
        failure = tasks.failure() => return Err(failure.into()),
        ended = tokio::signal::ctrl_c() => ended?,
    }
    shutdown_handle.advance(Phase::Lame);
    shutdown_handle.advance(Phase::Drained);
    shutdown_handle.advance(Phase::Stopped);
    tasks.finished().await;
    server.close();
    Ok(())
}

fn service_account_key(path: &Path) -> Result<ServiceAccountKey, Error> {
    if !path.exists() {
        write_secret(path, &ServiceAccountKey::generate_pem()?)?;
    }
    Ok(ServiceAccountKey::from_pem(&std::fs::read_to_string(path)?)?)
}
