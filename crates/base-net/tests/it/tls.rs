//! TLS: names, renewal, client certificates, and plain HTTP beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base_net::connect::{Connector, DialError, Target};
use base_net::listen::Listener;
use base_net::pool::{Pool, PoolConfig, SendCause};
use base_net::serve::{Server, ServerConfig, Transport};
use base_net::tls::{Certificates, ClientAuth, Trust, certified_key, client_config, server_config};
use base_net::{Body, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::sign::CertifiedKey;

use crate::rig::{Rig, ask, get, loopback, service};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        certified_key(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// Tells who asks, for which name.
fn serve(rig: &Rig, transport: Transport) -> SocketAddr {
    let listener = Listener::tcp(loopback()).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server::new(ServerConfig { transport, ..ServerConfig::new("tls") }, &rig.tasks, &rig.metrics);
    server
        .start(listener, |peer| {
            let told = match &peer.tls {
                None => "plain".to_owned(),
                Some(tls) => format!("{} {}", tls.server_name.as_deref().unwrap_or("-"), tls.certificates.len()),
            };
            service(move |request| {
                std::future::ready(Response::new(Body::from(format!("{told} {:?}", request.version()))))
            })
        })
        .unwrap();
    addr
}

fn pool(rig: &Rig, trust: Trust<'_>, own: Option<Arc<CertifiedKey>>) -> Pool {
    rig.pool_of(Connector::new().with_tls(client_config(trust, own).unwrap()), PoolConfig::default())
}

fn named(target: Target, name: &str) -> Target {
    target.with_tls(name.to_owned().try_into().unwrap())
}

#[tokio::test]
async fn a_certificate_is_chosen_by_name_and_can_be_renewed() {
    let (rig, authority) = (Rig::new(), Authority::new());
    let own = Certificates::default();
    own.replace(
        BTreeMap::from([
            ("a.test".into(), authority.issue("a.test")),
            ("*.b.test".into(), authority.issue("*.b.test")),
        ]),
        None,
    );
    let addr = serve(&rig, Transport::Tls(server_config(&own, ClientAuth::None).unwrap()));
    let trust = authority.pem();
    let fresh_pool = || pool(&rig, Trust::Authorities(trust.as_bytes()), None);
    assert_eq!(ask(&fresh_pool(), &named(Target::http1(addr), "a.test"), "/").await, "a.test 0 HTTP/1.1");
    assert_eq!(ask(&fresh_pool(), &named(Target::http2(addr), "x.b.test"), "/").await, "x.b.test 0 HTTP/2.0");
    let error = fresh_pool().send(&named(Target::http1(addr), "c.test"), get("/")).await.unwrap_err();
    assert!(matches!(error.cause, SendCause::Dial(error) if matches!(*error, DialError::Tls { .. })));
    own.replace(BTreeMap::new(), Some(authority.issue("c.test")));
    assert_eq!(ask(&fresh_pool(), &named(Target::http1(addr), "c.test"), "/").await, "c.test 0 HTTP/1.1");
    let stranger = Authority::new().pem();
    let distrusting = pool(&rig, Trust::Authorities(stranger.as_bytes()), None);
    assert!(distrusting.send(&named(Target::http1(addr), "c.test"), get("/")).await.is_err());
    assert_eq!(ask(&pool(&rig, Trust::Anybody, None), &named(Target::http1(addr), "z"), "/").await, "z 0 HTTP/1.1");
}

#[tokio::test]
async fn clients_may_show_a_certificate() {
    let (rig, authority) = (Rig::new(), Authority::new());
    let own = Certificates::default();
    own.replace(BTreeMap::new(), Some(authority.issue("a.test")));
    let pem = authority.pem();
    let target = |addr| named(Target::http1(addr), "a.test");
    let trust = || Trust::Authorities(pem.as_bytes());
    let optional = serve(&rig, Transport::Tls(server_config(&own, ClientAuth::Optional(pem.as_bytes())).unwrap()));
    assert_eq!(ask(&pool(&rig, trust(), None), &target(optional), "/").await, "a.test 0 HTTP/1.1");
    let known = || Some(authority.issue("me"));
    assert_eq!(ask(&pool(&rig, trust(), known()), &target(optional), "/").await, "a.test 1 HTTP/1.1");
    let unknown = Some(Authority::new().issue("me"));
    assert!(pool(&rig, trust(), unknown).send(&target(optional), get("/")).await.is_err());
    let required = serve(&rig, Transport::Tls(server_config(&own, ClientAuth::Required(pem.as_bytes())).unwrap()));
    assert!(pool(&rig, trust(), None).send(&target(required), get("/")).await.is_err());
    assert_eq!(ask(&pool(&rig, trust(), known()), &target(required), "/").await, "a.test 1 HTTP/1.1");
}

#[tokio::test]
async fn plain_http_may_be_spoken_beside_tls() {
    let (rig, authority) = (Rig::new(), Authority::new());
    let own = Certificates::default();
    own.replace(BTreeMap::new(), Some(authority.issue("a.test")));
    let addr = serve(&rig, Transport::Either(server_config(&own, ClientAuth::None).unwrap()));
    let pem = authority.pem();
    let pool = pool(&rig, Trust::Authorities(pem.as_bytes()), None);
    assert_eq!(ask(&pool, &Target::http1(addr), "/").await, "plain HTTP/1.1");
    assert_eq!(ask(&pool, &Target::http2(addr), "/").await, "plain HTTP/2.0");
    assert_eq!(ask(&pool, &named(Target::http2(addr), "a.test"), "/").await, "a.test 0 HTTP/2.0");
}
