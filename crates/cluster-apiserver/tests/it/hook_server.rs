//! A webhook over HTTPS with an authority of its own, which keeps what it is asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base_rt::{Shutdown, Tasks};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cluster_apiserver::pki::{Authority, Credentials};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a webhook answers.
pub(crate) enum Reply {
    Json(Value),
    Raw(u16, &'static str),
    Never,
}

/// A running webhook; it ends with the test's runtime.
pub(crate) struct HookServer {
    pub(crate) address: SocketAddr,
    authority: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl HookServer {
    /// Answers the reviews that come to a path.
    pub(crate) async fn start(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), "127.0.0.1", answer).await
    }

    /// The same, at an address and with a certificate for a name.
    pub(crate) async fn start_at(
        address: SocketAddr,
        name: &str,
        answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let now = base_rt::Clock::system().now();
        let authority = Authority::generate(now).expect("authority");
        let credentials = authority.server(&[name.to_owned()], now).expect("certificate");
        Self::serve(address, &credentials, authority.certificate_pem(), answer).await
    }

    /// With a certificate that is its own authority, as `openssl req -x509` makes them.
    pub(crate) async fn start_by_itself(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let certificate_pem = params.self_signed(&key).expect("certificate").pem();
        let credentials = Credentials { certificate_pem, key_pem: key.serialize_pem() };
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), &credentials, &credentials.certificate_pem, answer).await
    }

    async fn serve(
        address: SocketAddr,
        credentials: &Credentials,
        authority: &str,
        answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_slice_iter(credentials.certificate_pem.as_bytes()).map(|one| one.expect("pem"));
        let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).expect("key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("pair");
        let listener = TcpListener::bind(address).await.expect("listener");
        let address = listener.local_addr().expect("address");
        let server = Self { address, authority: authority.to_owned(), asked: Arc::default() };
        let (asked, answer) = (Arc::clone(&server.asked), Arc::new(answer));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (_, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let connections = tasks.clone();
        tasks.spawn_transient("webhook", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, asked, answer) = (acceptor.clone(), Arc::clone(&asked), Arc::clone(&answer));
                connections.spawn_transient("webhook/connection", async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                        async move {
                            let path = request.uri().to_string();
                            let body = request.into_body().collect().await?.to_bytes();
                            let review: Value = serde_json::from_slice(&body).expect("a review");
                            asked.lock().expect("lock").push((path.clone(), review.clone()));
                            let reply = (*answer)(path.split('?').next().unwrap_or_default(), &review);
                            let (code, text) = match reply {
                                Reply::Json(value) => (200, value.to_string()),
                                Reply::Raw(code, text) => (code, text.to_owned()),
                                Reply::Never => std::future::pending().await,
                            };
                            let mut response = Response::new(Full::new(Bytes::from(text)));
                            *response.status_mut() = http::StatusCode::from_u16(code).expect("code");
                            Ok::<_, hyper::Error>(response)
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        server
    }

    /// What it was asked, and forgets it: path with query, and request of the review.
    pub(crate) fn take(&self) -> Vec<(String, Value)> {
        let asked = std::mem::take(&mut *self.asked.lock().expect("lock"));
        asked.into_iter().map(|(path, review)| (path, review["request"].clone())).collect()
    }

    pub(crate) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.authority)
    }

    /// A `clientConfig` that leads here.
    pub(crate) fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.ca_bundle()})
    }
}

/// The answer of an admission webhook.
pub(crate) fn admission(review: &Value, response: Value) -> Reply {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    Reply::Json(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}))
}

pub(crate) fn allow(review: &Value) -> Reply {
    admission(review, json!({"allowed": true}))
}

pub(crate) fn deny(review: &Value, status: Value) -> Reply {
    admission(review, json!({"allowed": false, "status": status}))
}

/// The answer of a webhook that changes the object.
pub(crate) fn patch(review: &Value, operations: Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    admission(review, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}
