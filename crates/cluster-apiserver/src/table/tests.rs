use serde_json::{Value, json};

use super::*;
use crate::kinds;

fn now() -> Timestamp {
    "2026-11-23T01:00:00Z".parse().expect("time")
}

fn row(group: &str, version: &str, plural: &str, object: &Value) -> Vec<Value> {
    cells(kinds::find(group, version, plural).expect("kind"), object, now())
}

#[test]
fn every_kind_has_a_cell_for_each_column() {
    for kind in kinds::builtins() {
        let columns = columns(kind);
        let count = columns.as_array().map_or(0, Vec::len);
        assert!(count >= 2, "{}", kind.kind);
        assert_eq!(cells(kind, &json!({}), now()).len(), count, "{} {}", kind.version, kind.kind);
    }
}

#[test]
fn pods_say_how_they_are() {
    let status = |pod: Value| row("", "v1", "pods", &pod)[1..4].to_vec();
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
    let waiting = json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
         "lastState": {"terminated": {"finishedAt": "2026-11-23T00:59:30Z"}}}]}});
    assert_eq!(status(waiting), ["0/2", "Init:CrashLoopBackOff", "2 (30s ago)"]);
    let started = json!({"spec": spec, "status": {"phase": "Running",
        "initContainerStatuses": [{"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}}],
        "containerStatuses": [
            {"name": "a", "restartCount": 1, "ready": true, "state": {"running": {}}},
            {"name": "b", "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}]}});
    assert_eq!(status(started.clone()), ["1/2", "ExitCode:3", "1"]);
    let mut ending = started;
    ending["metadata"] = json!({"deletionTimestamp": "2026-11-23T01:00:00Z"});
    assert_eq!(status(ending), ["1/2", "Terminating", "1"]);
    let begun = json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "restartCount": 0, "state": {"running": {}}}]}});
    assert_eq!(status(begun), ["0/2", "Init:0/1", "0"]);
}

#[test]
fn a_sidecar_counts_as_a_container() {
    let pod = json!({
        "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
        "status": {"phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    assert_eq!(row("", "v1", "pods", &pod)[1..4], ["2/2", "Running", "1"]);
}

#[test]
fn services_and_endpoints() {
    let balancer = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"],
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    let cells = row("", "v1", "services", &balancer);
    assert_eq!(cells[1..5], ["LoadBalancer", "10.0.0.9", "<pending>", "80:30080/TCP,53/UDP"]);
    let endpoints = json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "fd00::1"}],
        "ports": [{"port": 1}, {"port": 2}]}]});
    assert_eq!(row("", "v1", "endpoints", &endpoints)[1], "1.1.1.1:1,[fd00::1]:1,1.1.1.1:2 + 1 more...");
    let slice = json!({"addressType": "IPv4", "ports": [{"port": 8012}, {}], "endpoints": []});
    assert_eq!(row("discovery.k8s.io", "v1", "endpointslices", &slice)[1..4], ["IPv4", "8012,*", "<unset>"]);
}

#[test]
fn events_count_their_series() {
    let event = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "R", "message": " m\n",
        "involvedObject": {"kind": "Pod", "name": "p"}, "eventTime": "2026-11-23T00:59:00.000000Z",
        "series": {"count": 7, "lastObservedTime": "2026-11-23T00:59:50.000000Z"}, "reportingComponent": "c"});
    let cells = row("", "v1", "events", &event);
    assert_eq!(cells[..4], ["10s", "Normal", "R", "pod/p"]);
    assert_eq!(cells[5..8], ["c", "m", "60s"]);
    assert_eq!(cells[8], 7);
}

#[test]
fn jobs_and_nodes() {
    let job = json!({"spec": {"parallelism": 3}, "status": {"succeeded": 1, "startTime": "2026-11-23T00:58:00Z",
        "completionTime": "2026-11-23T00:59:10Z", "conditions": [{"type": "Complete", "status": "True"}]}});
    assert_eq!(row("batch", "v1", "jobs", &job)[1..4], ["Complete", "1/1 of 3", "70s"]);
    let node = json!({"metadata": {"labels": {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(row("", "v1", "nodes", &node)[1..3], ["Ready,SchedulingDisabled", "worker"]);
}
