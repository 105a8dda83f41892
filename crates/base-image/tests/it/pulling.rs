//! Pulling from registries that behave, misbehave, ask for tokens and redirect.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base_image::keychain::{Anonymous, DockerConfig};
use base_image::media_type::Compression;
use base_image::pull::Puller;
use base_image::registry_client::{ClientOptions, FetchError, NameResolver};
use base_image::registry_server::{Access, Registry, RegistryBody};
use base_image::store::Origin;
use base_image::{Digest, Platform, Store};
use base_rt::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{Runtime, Server, TestStore, named_image, put_image, response, runtime, store};

const PATIENCE: Duration = Duration::from_secs(30);

/// A registry elsewhere that has an image, and an empty store with a puller.
struct Fixture {
    runtime: Runtime,
    there: TestStore,
    here: TestStore,
    puller: Puller,
}

fn fixture() -> Fixture {
    let (runtime, there, here) = (runtime(), store(), store());
    let puller = Puller::new(here.store.clone(), runtime.client(), runtime.clock);
    Fixture { runtime, there, here, puller }
}

type Answer = BoxFuture<'static, Response<RegistryBody>>;

impl Fixture {
    async fn serve(&self) -> Server {
        self.runtime.serve(&self.there.store).await
    }

    /// Serves the registry elsewhere, except where `instead` answers.
    async fn serve_except<F>(&self, instead: F) -> Server
    where
        F: Fn(&Request<Incoming>) -> Option<Response<RegistryBody>> + Send + Sync + 'static,
    {
        let registry = self.runtime.registry(&self.there.store);
        self.runtime.start(None, except(registry, instead)).await
    }

    async fn pull(&self, server: &Server, name: &str) -> Result<base_image::Image, FetchError> {
        self.puller.pull(&server.reference(name), &Anonymous).await
    }
}

fn except<F>(registry: Registry, instead: F) -> impl Fn(Request<Incoming>) -> Answer + Send + Sync + 'static
where
    F: Fn(&Request<Incoming>) -> Option<Response<RegistryBody>> + Send + Sync + 'static,
{
    move |request| {
        let (registry, answer) = (registry.clone(), instead(&request));
        async move {
            match answer {
                Some(answer) => answer,
                None => registry.handle(request, Access::Pull).await,
            }
        }
        .boxed()
    }
}

fn header<'a>(request: &'a Request<Incoming>, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The registry elsewhere calls its repositories its own, so a name there is `own.example/…`.
fn put_there(fixture: &Fixture) -> Digest {
    named_image(&fixture.there.store, "own.example/hello")
}

#[tokio::test]
async fn an_image_is_pulled_whole_and_then_known() {
    let fixture = fixture();
    let digest = put_there(&fixture);
    let server = fixture.serve().await;
    let reference = server.reference("hello");
    assert!(fixture.puller.present(&reference).await.unwrap().is_none());
    assert_eq!(fixture.puller.resolve(&reference, &Anonymous, PATIENCE).await.unwrap(), digest);
    let image = fixture.puller.pull(&reference, &Anonymous).await.unwrap();
    assert_eq!((image.digest, image.config.entrypoint[0].as_str()), (digest, "/app/data"));
    for layer in &image.layers {
        assert!(fixture.here.store.read_blob(layer.digest, 1 << 30).is_ok());
    }
    assert_eq!(fixture.here.store.record(&reference).unwrap().origin, Origin::Pulled);
    server.log.take();
    assert_eq!(fixture.puller.present(&reference).await.unwrap().unwrap().digest, digest);
    let again = fixture.puller.pull(&reference.with_digest(digest), &Anonymous).await.unwrap();
    assert_eq!((again.digest, server.log.take().len()), (digest, 0), "by digest nobody is asked");
    fixture.pull(&server, "hello").await.unwrap();
    assert_eq!(
        (server.log.count("GET /v2/hello/manifests"), server.log.count("GET /v2/hello/blobs")),
        (1, 1),
        "a tag may have moved"
    );
    assert_eq!(fixture.here.store.collect_garbage(Timestamp::MAX).unwrap().removed, 0);
}

#[tokio::test]
async fn what_was_put_here_on_purpose_is_asked_of_nobody() {
    let fixture = fixture();
    let digest = named_image(&fixture.here.store, "hello");
    named_image(&fixture.here.store, "own.example/mine");
    for name in ["hello", "127.0.0.1:1/mine", "own.example/mine:latest"] {
        let reference = name.parse().unwrap();
        assert_eq!(fixture.puller.resolve(&reference, &Anonymous, PATIENCE).await.unwrap(), digest, "{name}");
        assert_eq!(fixture.puller.pull(&reference, &Anonymous).await.unwrap().digest, digest, "{name}");
    }
    let absent = fixture.puller.pull(&"127.0.0.1:1/absent".parse().unwrap(), &Anonymous).await.unwrap_err();
    assert_eq!(
        absent.to_string(),
        "image 127.0.0.1:1/absent:latest was not found: check its name and tag, or import it with `kwick image import`"
    );
}

#[tokio::test]
async fn pulls_of_the_same_layers_fetch_them_once() {
    let fixture = fixture();
    put_there(&fixture);
    let server = fixture.serve().await;
    let pulls = (0..5).map(|_| fixture.pull(&server, "hello"));
    for image in futures::future::join_all(pulls).await {
        image.unwrap();
    }
    let image =
        fixture.here.store.image(fixture.here.store.record(&server.reference("hello")).unwrap().digest).unwrap();
    for layer in image.layers {
        assert_eq!(server.log.count(&format!("GET /v2/hello/blobs/{}", layer.digest)), 1);
    }
}

#[tokio::test]
async fn of_an_index_this_machine_s_manifest_is_pulled() {
    let fixture = fixture();
    let mine = put_image(&fixture.there.store, Platform::host(), Compression::Zstd);
    let index = |platforms: &[(&str, Digest)]| {
        let host = Platform::host();
        let entries = platforms.iter().map(|(os, digest)| {
            format!(
                r#"{{"digest":"{digest}","size":1,"platform":{{"os":"{os}","architecture":"{}"}}}}"#,
                host.architecture
            )
        });
        let entries = entries.collect::<Vec<_>>().join(",");
        fixture.there.store.put_blob(format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#).as_bytes()).unwrap()
    };
    let set = |name: &str, digest| {
        fixture.there.store.set_record(&name.parse().unwrap(), digest, Origin::Local, Timestamp::UNIX_EPOCH).unwrap();
    };
    let both = index(&[("plan9", Digest::of(b"absent")), ("linux", mine)]);
    set("own.example/multi", both);
    set("own.example/foreign", index(&[("plan9", mine)]));
    let server = fixture.serve().await;
    let image = fixture.pull(&server, "multi").await.unwrap();
    assert_eq!((image.digest, fixture.here.store.record(&server.reference("multi")).unwrap().digest), (mine, both));
    let error = fixture.pull(&server, "foreign").await.unwrap_err();
    assert!(matches!(error, FetchError::WrongPlatform { .. }), "{error:?}");
    let text = base_rt::error_chain(&error);
    assert!(text.contains("does not run on this machine: the image is for plan9/"), "{text}");
}

#[tokio::test]
async fn indexes_that_lead_to_indexes_end() {
    let fixture = fixture();
    let image = put_there(&fixture);
    let leading_to = |below: Digest| {
        let host = Platform::host();
        let platform = format!(r#"{{"os":"{}","architecture":"{}"}}"#, host.os, host.architecture);
        let entry = format!(r#"{{"digest":"{below}","size":1,"platform":{platform}}}"#);
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)
    };
    let mut chain = vec![leading_to(image)];
    for depth in 0..3 {
        let below = Digest::of(chain[depth].as_bytes());
        chain.push(leading_to(below));
    }
    let (third, fourth) = (Digest::of(chain[2].as_bytes()), Digest::of(chain[3].as_bytes()));
    let served = fixture.serve_except(move |request| {
        let wanted = request.uri().path().rsplit('/').next()?.to_owned();
        let found = chain.iter().find(|text| Digest::of(text.as_bytes()).to_string() == wanted)?;
        Some(response(200, &[], found))
    });
    let server = served.await;
    assert_eq!(fixture.pull(&server, &format!("hello@{third}")).await.unwrap().digest, image);
    let error = fixture.pull(&server, &format!("hello@{fourth}")).await.unwrap_err();
    assert!(matches!(error, FetchError::Load { .. }), "{error:?}");
    // One that answers every question with an index that asks the next one is found out by the digest.
    let error = failure(move |request| {
        let is_manifest = request.uri().path().contains("/manifests/");
        is_manifest.then(|| response(200, &[], &leading_to(Digest::of(b"another"))))
    });
    let error = error.await;
    assert!(matches!(error, FetchError::WrongContent { .. }), "{error:?}");
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_before_its_layers() {
    let fixture = fixture();
    let other = Platform { os: "plan9".into(), ..Platform::host() };
    let digest = put_image(&fixture.there.store, other, Compression::Gzip);
    let name = "own.example/other".parse().unwrap();
    fixture.there.store.set_record(&name, digest, Origin::Local, Timestamp::UNIX_EPOCH).unwrap();
    let server = fixture.serve().await;
    assert!(matches!(fixture.pull(&server, "other").await, Err(FetchError::WrongPlatform { .. })));
    assert_eq!(server.log.count("GET /v2/other/blobs"), 1);
}

/// Pulls from a registry whose answers are replaced, and gives the error.
async fn failure<F>(instead: F) -> FetchError
where
    F: Fn(&Request<Incoming>) -> Option<Response<RegistryBody>> + Send + Sync + 'static,
{
    let fixture = fixture();
    put_there(&fixture);
    let server = fixture.serve_except(instead).await;
    let error = fixture.pull(&server, "hello").await.unwrap_err();
    assert!(fixture.here.store.records().is_empty());
    error
}

/// Answers requests for layers, which are larger than everything else, with `status` and `body`.
fn for_blobs(body: &'static str) -> impl Fn(&Request<Incoming>) -> Option<Response<RegistryBody>> {
    move |request| request.uri().path().contains("/blobs/").then(|| response(200, &[], body))
}

#[tokio::test]
async fn refusals_and_faults_are_told_apart() {
    let manifests = |status: u16, body: &'static str| {
        move |request: &Request<Incoming>| {
            request.uri().path().contains("/manifests/").then(|| response(status, &[], body))
        }
    };
    assert!(matches!(failure(manifests(404, "")).await, FetchError::NotFound { .. }));
    let denied = failure(manifests(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#)).await;
    assert!(matches!(denied, FetchError::Unauthorized { .. }));
    assert!(denied.to_string().ends_with("needs (other) credentials (DENIED: no)"), "{denied}");
    assert!(matches!(failure(manifests(401, "")).await, FetchError::Unauthorized { .. }));
    assert!(matches!(failure(manifests(429, "")).await, FetchError::RateLimited { .. }));
    assert!(matches!(failure(manifests(503, "")).await, FetchError::Status { status: 503, .. }));
    assert!(matches!(failure(manifests(200, "{}")).await, FetchError::Manifest { .. }));
    assert!(matches!(failure(manifests(200, "<html>")).await, FetchError::Manifest { .. }));
    let endless = " ".repeat(5 << 20);
    let endless: &'static str = endless.leak();
    assert!(matches!(failure(manifests(200, endless)).await, FetchError::TooLarge { .. }));
    assert!(matches!(failure(for_blobs("x")).await, FetchError::WrongContent { .. }));
    assert!(matches!(failure(for_blobs(endless)).await, FetchError::TooLarge { .. }));
    let round = |request: &Request<Incoming>| {
        (request.uri().path() != "/v2/").then(|| response(302, &[("location", "/v2/hello")], ""))
    };
    assert!(matches!(failure(round).await, FetchError::Protocol { .. }));
    let digest = |request: &Request<Incoming>| {
        let headers = [("docker-content-digest", "sha512:00")];
        request.uri().path().contains("/manifests/").then(|| response(200, &headers, "{}"))
    };
    assert!(matches!(failure(digest).await, FetchError::Digest { .. }));
}

#[tokio::test]
async fn a_registry_that_stumbles_is_asked_again() {
    let fixture = fixture();
    let digest = put_there(&fixture);
    let stumbles = AtomicUsize::new(2);
    let server = fixture.serve_except(move |request| {
        let is_blob = request.uri().path().contains("/blobs/");
        let falls =
            is_blob && stumbles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        falls.then(|| response(502, &[], ""))
    });
    assert_eq!(fixture.pull(&server.await, "hello").await.unwrap().digest, digest);
}

#[tokio::test]
async fn tokens_are_fetched_once_and_sent_only_home() {
    let fixture = fixture();
    let digest = put_there(&fixture);
    let blobs = fixture.runtime.registry(&fixture.there.store);
    let elsewhere = fixture
        .runtime
        .start(
            None,
            except(blobs, |request| (!header(request, "authorization").is_empty()).then(|| response(400, &[], ""))),
        )
        .await;
    let redirect = format!("http://{}", elsewhere.address);
    let server = fixture
        .serve_except(move |request| {
            let path = request.uri().path();
            if path == "/token" {
                assert_eq!(request.uri().query(), Some("x=1&service=test%20service&scope=repository%3Ahello%3Apull"));
                return Some(response(200, &[], r#"{"token":"secret","expires_in":300}"#));
            }
            if header(request, "authorization") != "Bearer secret" {
                let realm = format!("http://{}/token?x=1", header(request, "host"));
                let challenge =
                    format!(r#"Bearer realm="{realm}",service="test service",scope="repository:hello:pull""#);
                return Some(response(401, &[("www-authenticate", &challenge)], ""));
            }
            path.contains("/blobs/").then(|| response(307, &[("location", &format!("{redirect}{path}"))], ""))
        })
        .await;
    let reference = server.reference("hello");
    assert_eq!(fixture.puller.resolve(&reference, &Anonymous, PATIENCE).await.unwrap(), digest);
    assert_eq!(fixture.puller.pull(&reference, &Anonymous).await.unwrap().digest, digest);
    assert_eq!(server.log.count("GET /token"), 1);
    assert_eq!(elsewhere.log.count("GET /v2/hello/blobs"), 3);
}

#[tokio::test]
async fn credentials_come_from_the_keychain() {
    let fixture = fixture();
    let digest = put_there(&fixture);
    let server = fixture.serve_except(|request| {
        // user:pass
        let is_known = header(request, "authorization") == "Basic dXNlcjpwYXNz";
        (!is_known).then(|| response(401, &[("www-authenticate", "Basic realm=\"x\"")], ""))
    });
    let server = server.await;
    assert!(matches!(fixture.pull(&server, "hello").await, Err(FetchError::Unauthorized { .. })));
    let mut keychain = DockerConfig::default();
    keychain.add(format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#, server.address).as_bytes()).unwrap();
    let reference = server.reference("hello");
    assert_eq!(fixture.puller.pull(&reference, &keychain).await.unwrap().digest, digest);
    assert!(
        matches!(fixture.pull(&server, "hello").await, Err(FetchError::Unauthorized { .. })),
        "a user's token is the user's alone"
    );
    let mut guess = DockerConfig::default();
    guess
        .add(format!(r#"{{"auths":{{"{}":{{"username":"user","password":"no"}}}}}}"#, server.address).as_bytes())
        .unwrap();
    let guessed = fixture.puller.pull(&reference, &guess).await;
    assert!(matches!(guessed, Err(FetchError::Unauthorized { .. })), "a name alone opens nothing");
}

#[derive(Debug)]
struct Loopback;

impl NameResolver for Loopback {
    fn lookup(&self, host: String) -> BoxFuture<'_, std::io::Result<Vec<IpAddr>>> {
        let known = host.ends_with(".example");
        let unknown = || Err(std::io::Error::other("no such name"));
        std::future::ready(if known { Ok(vec![Ipv4Addr::LOCALHOST.into()]) } else { unknown() }).boxed()
    }
}

/// A TLS server's configuration for `name`, and the certificate to trust.
fn tls(name: &str) -> (TlsAcceptor, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate)
}

fn tls_puller(fixture: &Fixture, roots: Vec<CertificateDer<'static>>) -> (Puller, Store) {
    let options = ClientOptions { extra_roots: roots, ..ClientOptions::default() };
    let client = fixture.runtime.client_with(Arc::new(Loopback), options);
    (Puller::new(fixture.here.store.clone(), client, fixture.runtime.clock), fixture.here.store.clone())
}

#[tokio::test]
async fn a_registry_by_name_and_tls() {
    let fixture = fixture();
    let digest = put_there(&fixture);
    let (acceptor, certificate) = tls("own.example");
    let registry = fixture.runtime.registry(&fixture.there.store);
    // By TLS, and never back to plain HTTP, whatever the registry says.
    let server = fixture.runtime.start(
        Some(acceptor),
        except(registry, |request| {
            request
                .uri()
                .path()
                .contains("/downgrade/")
                .then(|| response(302, &[("location", "http://127.0.0.1:1/x")], ""))
        }),
    );
    let server = server.await;
    // The registry here is called otherwise, so that own.example is another one.
    let elsewhere = tempfile::tempdir().unwrap();
    let store = Store::open(elsewhere.path(), base_image::OwnNames::new("mine.example", ["x"])).unwrap();
    let options = ClientOptions { extra_roots: vec![certificate], ..ClientOptions::default() };
    let client = fixture.runtime.client_with(Arc::new(Loopback), options);
    let puller = Puller::new(store, client, fixture.runtime.clock);
    let pull = |name: &str| {
        let reference = format!("own.example:{}/{name}", server.address.port()).parse().unwrap();
        let puller = puller.clone();
        async move { puller.pull(&reference, &Anonymous).await }
    };
    assert_eq!(pull("hello").await.unwrap().digest, digest);
    let error = pull("downgrade/x").await.unwrap_err();
    assert!(error.to_string().ends_with("answered with a redirect from TLS to plain HTTP"), "{error}");
}

#[tokio::test]
async fn an_untrusted_certificate_and_an_unknown_name_are_said() {
    let fixture = fixture();
    let (acceptor, certificate) = tls("own.example");
    let registry = fixture.runtime.registry(&fixture.there.store);
    let server = fixture.runtime.start(Some(acceptor), except(registry, |_| None)).await;
    let (puller, _) = tls_puller(&fixture, vec![certificate]);
    let port = server.address.port();
    let error = puller.pull(&format!("other.example:{port}/a").parse().unwrap(), &Anonymous).await.unwrap_err();
    let text = base_rt::error_chain(&error);
    assert!(text.contains("agree on TLS with other.example: invalid peer certificate"), "{text}");
    let error = puller.pull(&"registry.test/a".parse().unwrap(), &Anonymous).await.unwrap_err();
    let text = base_rt::error_chain(&error);
    assert!(text.contains("cannot be reached: resolve its name \"registry.test\": no such name"), "{text}");
}

#[tokio::test]
async fn what_tls_met_is_said_though_the_server_answers_plain_http_with_a_complaint() {
    let fixture = fixture();
    let (acceptor, _) = tls("own.example");
    // As servers of TLS do: a client that speaks plain HTTP gets a 400. This one has an untrusted certificate besides.
    let server = fixture.runtime.start_both(acceptor, |_| async { response(400, &[], "speak TLS") }.boxed()).await;
    let error = fixture.pull(&server, "hello").await.unwrap_err();
    let text = base_rt::error_chain(&error);
    assert!(text.contains("agree on TLS with 127.0.0.1: invalid peer certificate"), "{text}");
    assert_eq!(server.log.take(), ["GET /v2/"], "it was asked");
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up() {
    let fixture = fixture();
    let server = fixture
        .runtime
        .start(None, |request| {
            let is_probe = request.uri().path() == "/v2/";
            async move { if is_probe { response(200, &[], "") } else { std::future::pending().await } }.boxed()
        })
        .await;
    let resolved = fixture.puller.resolve(&server.reference("a"), &Anonymous, Duration::from_secs(1)).await;
    assert!(matches!(resolved, Err(FetchError::Timeout { seconds: 1, .. })), "{resolved:?}");
}
