//! A container that is a role of this process: sockets in the Pod's network, probes, grace period.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base_net::connect::{Connector, LocalHandler, Target};
use base_net::{Body, Request, Response};
use base_rt::Phase;
use cluster_workloads::node::LogOptions;
use cluster_workloads::node::builtin::{BuiltinContext, BuiltinError, BuiltinFactory, BuiltinHandle, Builtins, Where};
use futures::FutureExt;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{IMAGE, NODE, get, ip, is_ready, run, status, until};

/// Is ready when the other container's port can be connected to, and answers `role` on its own. Counts its runs that have ended.
#[derive(Default)]
struct Sidecar(Arc<AtomicU32>);

impl BuiltinFactory for Sidecar {
    fn start(&self, context: BuiltinContext) -> Result<BuiltinHandle, BuiltinError> {
        let mut listeners = context.listeners;
        let listener = listeners.remove(&9000).ok_or_else(|| BuiltinError("no listener".to_owned()))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| BuiltinError(error.to_string()))?;
        context.log.line(&format!("serving {} for {}", context.env.get("USER_PORT").unwrap(), context.args.join(" ")));
        let shutdown = context.shutdown.clone();
        context.tasks.spawn_transient("test/role", async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Lame) => {}
                () = async {
                    while let Ok((mut connection, _)) = listener.accept().await {
                        let _ = connection.read(&mut [0; 1024]).await;
                        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nrole").await;
                    }
                } => {}
            }
        });
        let connector = Connector::new().with_supply(context.sockets);
        let probed = move |_request: Request| {
            let connector = connector.clone();
            async move {
                let target = Target::http1(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
                let is_there = connector.dial(&target).await.is_ok();
                let mut response = Response::new(Body::empty());
                *response.status_mut() = if is_there { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Ok(response)
            }
            .boxed()
        };
        let handlers = BTreeMap::from([(9000, Arc::new(probed) as Arc<dyn LocalHandler>)]);
        let (ended, ends) = (context.shutdown.clone(), Arc::clone(&self.0));
        let ended = async move {
            ended.reached(Phase::Lame).await;
            ends.fetch_add(1, Ordering::SeqCst);
            0
        };
        Ok(BuiltinHandle { handlers, changed: None, ended: ended.boxed() })
    }
}

/// A Pod of a container and a role.
fn two() -> serde_json::Value {
    json!({"metadata": {"name": "two"}, "spec": {
        "nodeName": NODE, "automountServiceAccountToken": false,
        "containers": [
            {"name": "user", "image": IMAGE, "imagePullPolicy": "Never", "args": ["serve", "8080"], "ports": [{"containerPort": 8080}],
             "lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": 9000}}}},
            {"name": "side", "image": IMAGE, "imagePullPolicy": "Never", "args": ["sidecar", "x"], "ports": [{"containerPort": 9000}],
             "env": [{"name": "USER_PORT", "value": "8080"}],
             "readinessProbe": {"httpGet": {"path": "/", "port": 9000}}},
        ],
    }})
}

#[test]
fn a_role_takes_part_in_its_pod() {
    run(async |ground| {
        let builtins =
            Builtins::new([ground.record.digest]).with("sidecar", Where::AnyPod, Arc::new(Sidecar::default()));
        let node = ground.node(builtins).await;
        ground.create(two()).await;
        let pod = ground.eventually("two", "readiness", is_ready).await;
        assert_eq!(get(&ip(&pod), 9000, "/"), "role");
        assert_eq!(get(&ip(&pod), 8080, "/"), "hello");
        assert!(status(&pod, 1).ready);
        let processes: usize = node.sandbox.pods().await.unwrap().iter().map(|pod| pod.containers.len()).sum();
        assert_eq!(processes, 1, "the role has none");
        let options = LogOptions { container: "side".to_owned(), ..LogOptions::default() };
        assert_eq!(node.logs("two", options).await, "serving 8080 for x\n");
        ground.delete("two").await;
        node.stop().await;
        ground
    });
}

#[test]
fn a_process_that_ends_restarts_nothing() {
    run(async |ground| {
        let ends = Arc::new(AtomicU32::new(0));
        let builtins = || {
            let role = Arc::new(Sidecar(Arc::clone(&ends)));
            Builtins::new([ground.record.digest]).with("sidecar", Where::AnyPod, role)
        };
        let node = ground.node(builtins()).await;
        ground.create(two()).await;
        let before = ground.eventually("two", "readiness", is_ready).await;
        node.lame();
        until("the role's end", async || (ends.load(Ordering::SeqCst) > 0).then_some(())).await;
        // What the process began to report is written when it has ended.
        node.stop().await;
        let meanwhile = ground.pods().get("two").await.unwrap();
        assert!(is_ready(&meanwhile), "{:#?}", meanwhile.status);
        let node = ground.node(builtins()).await;
        let after = ground.eventually("two", "readiness", is_ready).await;
        for at in [0, 1] {
            assert_eq!(status(&after, at).restart_count, 0);
        }
        assert_eq!(status(&after, 0).container_id, status(&before, 0).container_id);
        assert_eq!(get(&ip(&after), 9000, "/"), "role");
        ground.delete("two").await;
        node.stop().await;
        ground
    });
}
