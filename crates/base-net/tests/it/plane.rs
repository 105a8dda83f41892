//! The data plane under load: a proxy on two workers, many clients, nothing lost, few connections.

use std::sync::Arc;

use base_net::connect::{Connector, Target};
use base_net::listen::Listener;
use base_net::pool::{Pool, PoolConfig, PoolMetrics};
use base_net::serve::{Server, ServerConfig};
use base_net::workers::{DataPlane, PerWorker};
use base_rt::Phase;
use futures::future::join_all;

use crate::rig::{PATIENCE, Rig, echo, loopback, post, service, text};

const CLIENTS: usize = 100;
const REQUESTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_connections_are_reused() {
    let rig = Rig::new();
    let (upstream, _) = rig.serve(ServerConfig::new("upstream"), echo);
    let plane = DataPlane::start("plane", 2, &rig.tasks).unwrap();
    let metrics = PoolMetrics::new(&rig.metrics.sub("proxy"));
    let new_pool = || Pool::new(Connector::new(), PoolConfig::default(), &rig.tasks, &metrics);
    let pools = Arc::new(PerWorker::new(2, new_pool));
    let server = Server::new(ServerConfig::new("front"), &rig.tasks, &rig.metrics);
    let listeners = Listener::tcp_set(loopback(), 2).unwrap();
    let front = listeners[0].local_addr().unwrap();
    let for_each = Arc::clone(&pools);
    let serving = plane
        .serve(&server, listeners, move |_worker, _peer| {
            let endpoint = for_each.get().endpoint(&Target::http1(upstream));
            service(move |request| {
                let endpoint = endpoint.clone();
                async move { endpoint.send(request).await.unwrap() }
            })
        })
        .await
        .unwrap();
    let client = rig.pool();
    let all = join_all((0..CLIENTS).map(|n| {
        let client = client.clone();
        async move {
            for m in 0..REQUESTS {
                let body = format!("{n}/{m}/{}", "x".repeat(n * 100));
                let answer = text(client.send(&Target::http1(front), post("/p", body.clone())).await).await;
                assert_eq!(answer, format!("POST /p {body}"));
            }
        }
    }));
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let dials = rig.metric("proxy_upstream_dials_total");
    assert!(dials <= 2.0 * CLIENTS as f64, "{dials} dials for {} requests", CLIENTS * REQUESTS);
    let in_flight: usize = pools.all().map(|pool| pool.in_flight(&Target::http1(upstream))).sum();
    assert_eq!(in_flight, 0);
    rig.shutdown.advance(Phase::Lame);
    for server in &serving {
        tokio::time::timeout(PATIENCE, server.drained()).await.unwrap();
    }
    rig.shutdown.advance(Phase::Stopped);
    tokio::time::timeout(PATIENCE, rig.tasks.finished()).await.unwrap();
    assert_eq!(rig.tasks.panics(), 0);
}
