//! The API over HTTPS on a loopback port, HTTP/1.1 and HTTP/2.

use std::net::{Ipv4Addr, TcpListener};

use base_rt::Phase;
use cluster_apiserver::TlsFiles;
use cluster_apiserver::pki::Authority;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::support::{ADMIN_TOKEN, Harness};

async fn client(port: u16, authority: &Authority, auth: AuthInfo) -> kube::Client {
    let cluster = Cluster {
        server: Some(format!("https://127.0.0.1:{port}")),
        certificate_authority_data: Some(base64(authority.certificate_pem())),
        ..Cluster::default()
    };
    let config = Kubeconfig {
        clusters: vec![NamedCluster { name: "c".to_owned(), cluster: Some(cluster), ..Default::default() }],
        auth_infos: vec![NamedAuthInfo { name: "u".to_owned(), auth_info: Some(auth), ..Default::default() }],
        contexts: vec![NamedContext {
            name: "x".to_owned(),
            context: Some(Context { cluster: "c".to_owned(), user: Some("u".to_owned()), ..Context::default() }),
            ..Default::default()
        }],
        current_context: Some("x".to_owned()),
        ..Kubeconfig::default()
    };
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("config");
    kube::Client::try_from(config).expect("client")
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_certificates_over_https() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let harness = Harness::start().await;
    let now = base_rt::Clock::system().now();
    let authority = Authority::generate(now).expect("authority");
    let serving = authority.server(&["127.0.0.1".to_owned()], now).expect("certificate");
    let files = TlsFiles {
        certificate_pem: serving.certificate_pem,
        key_pem: serving.key_pem,
        client_authority_pem: authority.certificate_pem().to_owned(),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listener");
    let port = listener.local_addr().expect("address").port();
    harness.server.serve(vec![listener], &files).expect("serve");
    let count = |client: kube::Client| async move {
        Api::<Namespace>::all(client).list(&ListParams::default()).await.map(|list| list.items.len())
    };

    let token = AuthInfo { token: Some(ADMIN_TOKEN.to_owned().into()), ..AuthInfo::default() };
    assert_eq!(count(client(port, &authority, token).await).await.expect("list"), 4);

    let of = |credentials: cluster_apiserver::pki::Credentials| AuthInfo {
        client_certificate_data: Some(base64(&credentials.certificate_pem)),
        client_key_data: Some(base64(&credentials.key_pem).into()),
        ..AuthInfo::default()
    };
    let master = of(authority.client("eve", "system:masters", now).expect("certificate"));
    assert_eq!(count(client(port, &authority, master).await).await.expect("list"), 4);
    let nobody = of(authority.client("eve", "", now).expect("certificate"));
    let refused = count(client(port, &authority, nobody).await).await.expect_err("no rule");
    assert!(refused.to_string().contains("User \"eve\" cannot list resource \"namespaces\""), "{refused}");
    let stranger =
        of(Authority::generate(now).expect("authority").client("eve", "system:masters", now).expect("certificate"));
    assert!(count(client(port, &authority, stranger).await).await.is_err(), "signed by somebody else");

    harness.shutdown.advance(Phase::Lame);
    harness.shutdown.advance(Phase::Stopped);
    tokio::time::timeout(std::time::Duration::from_secs(20), harness.tasks.finished()).await.expect("everything ends");
}
