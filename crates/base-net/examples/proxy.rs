//! A plain reverse proxy on this crate's parts, for developers: to measure a hop, and to read how the parts go together.
//!
//! `cargo run --profile dist -p base-net --example proxy -- LISTEN UPSTREAM [WORKERS]`, for example `127.0.0.1:8081 127.0.0.1:8080 2`; ends on Ctrl-C.
//! Compare it with nginx on the same upstream by `wrk`, and the CPU time of both by `/proc/PID/stat`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use base_net::connect::{Connector, Target};
use base_net::listen::Listener;
use base_net::pool::{Endpoint, Pool, PoolConfig, PoolMetrics, remove_hop_by_hop};
use base_net::serve::{Server, ServerConfig};
use base_net::workers::{DataPlane, PerWorker};
use base_net::{Body, BoxError, Request, Response, upgrade};
use base_rt::metrics::Scope;
use base_rt::{Phase, Shutdown, Tasks};
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, StatusCode};

/// As in the shipped binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[derive(Clone)]
struct Proxy {
    upstream: Endpoint,
    tasks: Tasks,
    client: HeaderValue,
}

impl tower_service::Service<Request> for Proxy {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Self { upstream, tasks, client } = self.clone();
        Box::pin(async move {
            let client_side = upgrade::client_side(&mut request);
            remove_hop_by_hop(request.headers_mut());
            request.headers_mut().append(FORWARDED_FOR, client);
            match upstream.send(request).await {
                Ok(mut response) => {
                    upgrade::join(client_side, &mut response, &tasks);
                    remove_hop_by_hop(response.headers_mut());
                    Ok(response)
                }
                Err(error) => {
                    let mut response = Response::new(Body::from(base_rt::error_chain(&error)));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    Ok(response)
                }
            }
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    base_rt::trace::init("info", base_rt::trace::Format::Text)?;
    let mut arguments = std::env::args().skip(1);
    let mut address = |what| -> anyhow::Result<SocketAddr> {
        arguments
            .next()
            .with_context(|| format!("{what} is missing"))?
            .parse()
            .with_context(|| format!("{what} is no address"))
    };
    let (listen, upstream) = (address("LISTEN")?, address("UPSTREAM")?);
    let workers: usize = arguments.next().as_deref().unwrap_or("2").parse().context("WORKERS is no number")?;

    let (handle, shutdown) = Shutdown::new();
    let (tasks, metrics) = (Tasks::new(shutdown), Scope::root());
    let plane = DataPlane::start("proxy", workers, &tasks)?;
    let pool_metrics = PoolMetrics::new(&metrics);
    let new_pool = || Pool::new(Connector::new(), PoolConfig::default(), &tasks, &pool_metrics);
    let endpoints = Arc::new(PerWorker::new(workers, || new_pool().endpoint(&Target::http1(upstream))));
    let server = Server::new(ServerConfig::new("proxy"), &tasks, &metrics);
    let for_each = (tasks.clone(), Arc::clone(&endpoints));
    let serving = plane
        .serve(&server, Listener::tcp_set(listen, workers)?, move |_worker, peer| Proxy {
            upstream: for_each.1.get().clone(),
            tasks: for_each.0.clone(),
            client: peer
                .remote
                .and_then(|addr| HeaderValue::try_from(addr.ip().to_string()).ok())
                .unwrap_or(HeaderValue::from_static("unknown")),
        })
        .await?;
    tracing::info!(%listen, %upstream, workers, "proxying");
    tokio::signal::ctrl_c().await?;
    handle.advance(Phase::Lame);
    for server in serving {
        server.drained().await;
    }
    handle.advance(Phase::Stopped);
    tasks.finished().await;
    Ok(())
}
