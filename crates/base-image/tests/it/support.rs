//! A store, an image to put into it, and servers on loopback that speak whatever a test wants.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base_image::assemble::{ImageSpec, LayerTree, assemble};
use base_image::media_type::Compression;
use base_image::registry_client::{ClientOptions, NameResolver, RegistryClient, SystemResolver};
use base_image::registry_server::{Access, Registry, RegistryBody};
use base_image::{Digest, ImageConfig, OwnNames, Platform, Store};
use base_rt::metrics::Scope;
use base_rt::{Clock, Shutdown, ShutdownHandle, Tasks, Timestamp};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// Tasks of a test, ended with it.
pub(crate) struct Runtime {
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    _handle: ShutdownHandle,
}

pub(crate) fn runtime() -> Runtime {
    let (handle, shutdown) = Shutdown::new();
    Runtime { tasks: Tasks::new(shutdown), clock: Clock::starting_at(Timestamp::UNIX_EPOCH), _handle: handle }
}

impl Runtime {
    pub(crate) fn client(&self) -> RegistryClient {
        self.client_with(Arc::new(SystemResolver), ClientOptions::default())
    }

    pub(crate) fn client_with(&self, resolver: Arc<dyn NameResolver>, options: ClientOptions) -> RegistryClient {
        RegistryClient::new(&self.tasks, self.clock, resolver, options)
    }

    pub(crate) fn registry(&self, store: &Store) -> Registry {
        Registry::new(store.clone(), self.clock, &Scope::root())
    }

    /// Serves `store` as a registry.
    pub(crate) async fn serve(&self, store: &Store) -> Server {
        let service = self.registry(store).service(Access::Full);
        self.start(None, move |request| {
            let answer = service.clone().call(request);
            async move { answer.await.unwrap_or_else(|never| match never {}) }.boxed()
        })
        .await
    }

    /// Serves whatever `handler` answers.
    pub(crate) async fn start<H>(&self, tls: Option<TlsAcceptor>, handler: H) -> Server
    where
        H: Fn(Request<Incoming>) -> BoxFuture<'static, Response<RegistryBody>> + Send + Sync + 'static,
    {
        self.listen(tls, false, handler).await
    }

    /// The same for TLS, and plain HTTP at the same port.
    pub(crate) async fn start_both<H>(&self, tls: TlsAcceptor, handler: H) -> Server
    where
        H: Fn(Request<Incoming>) -> BoxFuture<'static, Response<RegistryBody>> + Send + Sync + 'static,
    {
        self.listen(Some(tls), true, handler).await
    }

    async fn listen<H>(&self, tls: Option<TlsAcceptor>, has_plain: bool, handler: H) -> Server
    where
        H: Fn(Request<Incoming>) -> BoxFuture<'static, Response<RegistryBody>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let (handler, server_log, tasks) = (Arc::new(handler), log.clone(), self.tasks.clone());
        self.tasks.spawn_transient("test/server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log, tls) = (Arc::clone(&handler), server_log.clone(), tls.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    log.add(format!("{} {}", request.method(), request.uri()));
                    let answer = handler(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                tasks.spawn_transient("test/connection", async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A method's name begins with a letter, a handshake does not.
                    let mut first = [0];
                    let is_plain = has_plain && stream.peek(&mut first).await.is_ok() && first[0].is_ascii_uppercase();
                    // A client that goes away is no failure of a test.
                    let _ = match tls.filter(|_| !is_plain) {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Server { address, log }
    }
}

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
}

impl Server {
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn reference(&self, name: &str) -> base_image::Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }
}

/// The requests that a server saw, as `METHOD URI`.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }
}

pub(crate) struct TestStore {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

/// An empty store whose own registry is `own.example`.
pub(crate) fn store() -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), OwnNames::new("own.example", ["127.0.0.1:1"])).unwrap();
    TestStore { dir, store }
}

/// An image of two layers for `platform` in `store`.
pub(crate) fn put_image(store: &Store, platform: Platform, compression: Compression) -> Digest {
    let layer = |name: &str, size: usize| {
        let mut tree = LayerTree::new();
        let noise: Vec<u8> = (0..size as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        tree.add_bytes(&format!("{name}/data"), 0o755, noise).unwrap();
        tree
    };
    let config = ImageConfig { platform, entrypoint: vec!["/app/data".into()], ..ImageConfig::default() };
    assemble(store, &ImageSpec { config, layers: vec![layer("base", 60_000), layer("app", 1000)], compression })
        .unwrap()
}

/// [`put_image`] for this machine, named.
pub(crate) fn named_image(store: &Store, name: &str) -> Digest {
    let digest = put_image(store, Platform::host(), Compression::Gzip);
    store.set_record(&name.parse().unwrap(), digest, base_image::store::Origin::Local, Timestamp::UNIX_EPOCH).unwrap();
    digest
}

impl TestStore {
    /// Writes an image as an OCI layout.
    pub(crate) fn export(&self, digest: Digest) -> PathBuf {
        let layout = self.dir.path().join("layout");
        let blobs = layout.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let image = self.store.image(digest).unwrap();
        let parts = image.layers.iter().map(|layer| layer.digest).chain([image.digest, image.config_digest]);
        for part in parts {
            std::fs::write(blobs.join(part.hex()), self.store.read_blob(part, 1 << 30).unwrap()).unwrap();
        }
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{}}}]}}"#,
            base_image::media_type::OCI_MANIFEST,
            self.store.blob_size(digest).unwrap()
        );
        std::fs::write(layout.join("index.json"), index).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout
    }
}

pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<RegistryBody> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::from(body.to_owned()).map_err(|never| match never {}).boxed_unsync()).unwrap()
}
