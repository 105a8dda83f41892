//! Upgrades through a proxy, over sockets and through the process-local table.

use std::sync::Arc;

use base_net::connect::{LocalTable, Target};
use base_net::serve::ServerConfig;
use base_net::{Body, BoxError, Request, Response, upgrade};
use futures::FutureExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Raw, Rig};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// Switches to a protocol in which every byte comes back in upper case, until the client closes its side.
fn shout(rig: &Rig) -> std::net::SocketAddr {
    let tasks = rig.tasks.clone();
    let (addr, _) = rig.serve(ServerConfig::new("upstream"), move |mut request| {
        let upgrading = hyper::upgrade::on(&mut request);
        tasks.spawn_transient("shout", async move {
            let mut io = TokioIo::new(upgrading.await.unwrap());
            while let Ok(byte) = io.read_u8().await {
                io.write_u8(byte.to_ascii_uppercase()).await.unwrap();
            }
            io.shutdown().await.unwrap();
        });
        let response = http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        std::future::ready(response.body(Body::empty()).unwrap())
    });
    addr
}

async fn talk(addr: std::net::SocketAddr) {
    let mut raw = Raw::connect(addr).await;
    raw.say(ASK).await;
    let head = raw.hear("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for word in ["hello", "again"] {
        raw.say(word).await;
        raw.hear(&word.to_ascii_uppercase()).await;
    }
    raw.0.shutdown().await.unwrap();
    assert_eq!(raw.hear_all().await, "", "the end passes through");
}

async fn pass(pool: base_net::pool::Pool, target: Target, tasks: base_rt::Tasks, mut request: Request) -> Response {
    let client = upgrade::client_side(&mut request);
    let mut response = pool.send(&target, request).await.unwrap();
    upgrade::join(client, &mut response, &tasks);
    response
}

#[tokio::test]
async fn two_proxies_in_a_row_pass_an_upgrade() {
    let rig = Rig::new();
    let mut next = shout(&rig);
    for name in ["inner", "outer"] {
        let (pool, target, tasks) = (rig.pool(), Target::http1(next), rig.tasks.clone());
        let proxy = move |request| pass(pool.clone(), target.clone(), tasks.clone(), request);
        next = rig.serve(ServerConfig::new(name), proxy).0;
    }
    talk(next).await;
}

#[tokio::test]
async fn a_hop_through_the_local_table_passes_an_upgrade() {
    let rig = Rig::new();
    let (pool, target) = (rig.pool(), Target::http1(shout(&rig)));
    let table = LocalTable::default();
    let here = "10.0.0.1:8012".parse().unwrap();
    let handler = move |request: Request| {
        let (pool, target) = (pool.clone(), target.clone());
        async move { pool.send(&target, request).await.map_err(BoxError::from) }.boxed()
    };
    let _entry = table.insert(here, Arc::new(handler));
    let tasks = rig.tasks.clone();
    let (outer, _) = rig.serve(ServerConfig::new("outer"), move |mut request| {
        let (table, tasks) = (table.clone(), tasks.clone());
        async move {
            let client = upgrade::client_side(&mut request);
            let mut response = table.get(&here).unwrap().call(request).await.unwrap();
            upgrade::join(client, &mut response, &tasks);
            response
        }
    });
    talk(outer).await;
}
