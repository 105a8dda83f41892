//! Answers as people read them, and what they are told to type.

use serde_json::{Value, json};

use super::{Answer, next, text};

/// An answer with these parts in place of those of a Service that is well.
fn answer(parts: &Value) -> Answer {
    let scaling = json!({
        "class": "kpa.autoscaling.knative.dev", "metric": "concurrency", "target": 70.0, "total": 100.0,
        "windows": {"stableS": 60.0, "panicS": 6.0, "panicThresholdPercent": 200.0, "targetBurstCapacity": 200.0},
        "min": 0, "max": 0, "desired": 1, "actual": 1, "isReachable": true, "hasActivatorInPath": true,
        "measured": {
            "at": "2026-11-01T12:00:58Z", "desired": 1, "excessBurstCapacity": -101, "stable": 0.5, "panic": 1.25,
            "ready": 1, "isPanicking": false, "isHeld": false,
        },
    });
    let revision = json!({
        "name": "hello-00001", "exists": true, "isLatestReady": true, "traffic": [{"percent": 100}],
        "ready": {"type": "Ready", "status": "True"}, "active": {"type": "Active", "status": "True"},
        "podsReady": 1, "pods": 1, "scaling": scaling,
    });
    let share = json!({
        "percent": 100, "revision": {"namespace": "team", "name": "hello-00001"}, "port": "80",
        "service": {"namespace": "team", "name": "hello-00001"}, "leadsTo": "activator", "addresses": 1,
    });
    let destination = json!({
        "host": "hello.team.localhost", "isClusterLocal": false, "ingress": {"namespace": "team", "name": "hello"},
        "prefix": "", "redirectsToHttps": false, "shares": [share],
    });
    let mut whole = json!({
        "at": "2026-11-01T12:01:00Z", "namespace": "team", "name": "hello", "url": "http://hello.team.localhost",
        "isCurrent": true, "ready": {"type": "Ready", "status": "True"}, "revisions": [revision],
        "troubles": [], "containers": [], "events": [], "controllers": [], "withheld": [], "next": [],
        "request": {"url": "http://hello.team.localhost", "fate": {"routed": destination}},
    });
    for (name, part) in parts.as_object().into_iter().flatten() {
        whole[name] = part.clone();
    }
    serde_json::from_value(whole).unwrap()
}

/// With what is to be typed next.
fn advised(parts: &Value) -> Answer {
    let mut answer = answer(parts);
    answer.next = next(&answer.explanation, answer.request.as_ref());
    answer
}

#[test]
fn a_service_that_is_well() {
    let expected = "\
ksvc/hello in namespace team is ready
http://hello.team.localhost

What scales it
  revision/hello-00001: 100 % of the traffic; 1 Pod, ready: 1
    class kpa.autoscaling.knative.dev by concurrency, 70 per Pod of the 100 that it can have
    Pods wanted 1, there 1; least 0, most no limit
    averages over 60 s; panic from 200 % over 6 s; room for a burst of 200
    measured 0.50, in the panic window 1.25, 2 s ago: stable
    requests pass the activator (mode Proxy)

Where a request for http://hello.team.localhost goes
  gateway, host hello.team.localhost: Ingress team/hello
  100 %  revision/hello-00001, by Service hello-00001:80, through the activator (mode Proxy); ready: 1

Next
  curl http://hello.team.localhost   asks it";
    assert_eq!(text(&advised(&Value::Null)), expected);
}

#[test]
fn a_container_that_crashes() {
    let answer = advised(&json!({
        "ready": {"type": "Ready", "status": "False", "reason": "RevisionFailed", "lastTransitionTime": "2026-11-01T12:00:48Z"},
        "troubles": [{"object": "revision/hello-00001", "condition": {
            "type": "ContainerHealthy", "status": "False", "reason": "ExitCode2", "message": "Container failed with: boom\nand more",
        }}],
        "containers": [{
            "pod": "p", "container": "user-container", "state": "waiting: CrashLoopBackOff", "restarts": 3,
            "lastEnd": "code 2: Error", "isLogOfPrevious": true, "log": ["starting", "boom \u{1b}[2J"],
        }],
        "events": [{
            "object": "pod/p", "reason": "BackOff", "message": "again", "count": 4, "last": "2026-11-01T11:51:00Z",
        }],
        "controllers": [
            {"object": "revision/hello-00001", "controller": "revision", "at": "2026-11-01T12:00:00Z", "outcome": "done"},
            {
                "object": "route/hello", "controller": "route", "at": "2026-11-01T12:00:00Z", "outcome": "refused",
                "refused": "exceeded quota",
            },
        ],
    }));
    let said = text(&answer);
    let expected = "\
ksvc/hello in namespace team is not ready: Ready is False for 12 s; RevisionFailed
http://hello.team.localhost

What is wrong
  revision/hello-00001: ContainerHealthy is False; ExitCode2: Container failed with: boom …
  pod/p, container user-container: waiting: CrashLoopBackOff; restarts: 3; ended with code 2: Error; its last lines:
    | starting
    | boom  [2J
  pod/p: Event BackOff (4 times, 10 min ago): again
  route/hello: controller route, 60 s ago: refused: exceeded quota
";
    assert!(said.starts_with(expected), "{said}");
    let commands: Vec<&str> = answer.next.iter().map(|step| step.command.as_str()).collect();
    let expected = ["kubectl logs p -c user-container --previous -n team", "kubectl edit ksvc hello -n team"];
    assert_eq!(commands, expected);
}

#[test]
fn each_trouble_has_a_next_command() {
    let failed = json!({"type": "Ready", "status": "False", "reason": "RevisionFailed"});
    let waiting = json!({"type": "Ready", "status": "Unknown"});
    let trouble = |type_: &str, reason: &str, message: &str| json!([{"object": "x", "condition": {"type": type_, "status": "False", "reason": reason, "message": message}}]);
    let container = |container: Option<&str>, state: &str| json!([{"pod": "p", "container": container, "state": state, "restarts": 0, "isLogOfPrevious": false, "log": []}]);
    for (parts, expected) in [
        (
            json!({"ready": failed, "troubles": trouble("ResourcesAvailable", "ContainerMissing", "")}),
            "kwick image list",
        ),
        (
            json!({"ready": failed, "troubles": trouble("ReplicaFailure", "FailedCreate", "exceeded quota: pods")}),
            "kubectl describe resourcequota -n team",
        ),
        (
            json!({"ready": failed, "troubles": trouble("AllTrafficAssigned", "RevisionMissing", "")}),
            "kubectl get revisions -l serving.knative.dev/service=hello -n team",
        ),
        (json!({"ready": failed}), "kubectl describe ksvc hello -n team"),
        (json!({"ready": waiting}), "kubectl wait ksvc/hello --for=condition=Ready --timeout=60s -n team"),
        (json!({"isCurrent": false}), "kubectl wait ksvc/hello --for=condition=Ready --timeout=60s -n team"),
        (json!({"ready": waiting, "containers": container(None, "not scheduled")}), "kubectl describe pod p -n team"),
        (
            json!({"ready": waiting, "containers": container(Some("c"), "waiting: ErrImagePull: no")}),
            "kwick image list",
        ),
        (json!({"containers": container(Some("c"), "running, but")}), "kubectl logs p -c c -n team"),
        (json!({"request": {"url": "http://x/", "fate": "unknown"}}), "kubectl get ksvc,domainmappings -n team"),
    ] {
        let first = advised(&parts).next.into_iter().next().map(|step| step.command);
        assert_eq!(first.as_deref(), Some(expected), "{parts}");
    }
}

#[test]
fn a_host_that_nobody_has_is_told_with_those_that_lead_here() {
    let said = text(&answer(&json!({"request": {"url": "http://helo.team.localhost", "fate": "unknown"}})));
    assert!(said.contains("nowhere: no route has this host and path, the gateway answers 404"), "{said}");
    assert!(said.contains("the Service is at http://hello.team.localhost"), "{said}");
    let said = text(&answer(&json!({"request": {"url": "http://other", "fate": "withheld"}})));
    assert!(said.contains("to a route that you may not read"), "{said}");
}
