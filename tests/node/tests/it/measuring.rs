//! What Pods and the machine use.

use cluster_workloads::node::builtin::Builtins;
use cluster_workloads::node::{PodUse, Use};
use serde_json::json;

use super::harness::{IMAGE, NODE, is_ready, run, until};

#[test]
fn what_pods_use_is_measured() {
    run(async |ground| {
        let running = ground.node(Builtins::default()).await;
        for (name, word) in [("busy", "burn"), ("idle", "stay")] {
            let container = json!({"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "args": [word]});
            let spec = json!({"nodeName": NODE, "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0, "containers": [container]});
            ground.create(json!({"metadata": {"name": name}, "spec": spec})).await;
            ground.eventually(name, "its run", is_ready).await;
        }
        let of = |pods: &[PodUse], name: &str| -> Option<Use> {
            let pod = pods.iter().find(|pod| pod.namespace == "default" && pod.name == name)?;
            assert_eq!(pod.containers[0].0, "c");
            Some(pod.containers[0].1)
        };
        let (measured, busy, idle) = until("both are measured", async || {
            let measured = running.node.measure().await.unwrap();
            let (busy, idle) = (of(&measured.pods, "busy")?, of(&measured.pods, "idle")?);
            // A machine may be busy with other things; an eighth of a processor is had in the end.
            (busy.cpu_nanos > 125_000_000).then_some((measured, busy, idle))
        })
        .await;
        assert!(idle.cpu_nanos < busy.cpu_nanos / 2, "{idle:?} {busy:?}");
        assert!(busy.memory_bytes > 0 && measured.window.as_secs() >= 1, "{measured:?}");
        assert!(measured.machine.cpu_nanos >= busy.cpu_nanos / 2, "the machine does what its Pods do: {measured:?}");
        assert!(measured.machine.memory_bytes > busy.memory_bytes);
        let again = running.node.measure().await.unwrap();
        assert!(again.at >= measured.at);
        for name in ["busy", "idle"] {
            ground.delete(name).await;
        }
        running.stop().await;
        ground
    });
}
