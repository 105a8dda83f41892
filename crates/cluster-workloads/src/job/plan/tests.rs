use super::*;
use crate::testing::{Row, Rows};

fn planned(row: &Row) -> Plan<Outlook> {
    let mut observed = Observed { job: row.one(), pods: row.all(), ends: super::super::backoff::Ends::default() };
    // What a row calls gone is remembered and not there.
    let gone = |pod: &Pod| pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("gone"));
    for pod in observed.pods.extract_if(.., |pod| gone(pod)) {
        observed.ends.add(&pod);
    }
    plan(&observed, row.now)
}

#[test]
fn rows() {
    Rows::load("src/job/testdata/plan.yaml").check(|row| serde_json::to_value(planned(row)).unwrap());
}

#[test]
fn bursts_are_bounded() {
    let job = |completed: i32| {
        serde_json::json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "many", "namespace": "n", "uid": "u"},
            "spec": {
                "parallelism": 5000, "completions": 5000, "selector": {"matchLabels": {"a": "b"}}, "template": {},
            },
            "status": {"succeeded": completed},
        })
    };
    assert_eq!(planned(&Row::of(vec![job(0)])).changes.len(), 500, "Pods that are made");
    let pods = |phase: &'static str| {
        (0..2000).map(move |number| serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("many-{number}"), "namespace": "n", "uid": format!("p{number}"), "labels": {"a": "b"},
                "finalizers": [TRACKING],
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": "many", "uid": "u", "controller": true,
                }],
            },
            "status": {"phase": phase},
        }))
    };
    let plan = |job: serde_json::Value, phase| planned(&Row::of([job].into_iter().chain(pods(phase)).collect()));
    let status = plan(job(0), "Succeeded").status.status.unwrap();
    assert_eq!(status.uncounted_terminated_pods.unwrap().succeeded.unwrap().len(), MAX_UNCOUNTED);
    let mut decided = job(0);
    decided["status"]["conditions"] = serde_json::json!([{"type": SUCCESS_CRITERIA_MET, "status": "True"}]);
    assert_eq!(plan(decided, "Running").changes.len(), 500, "Pods of a decided Job");
    let mut suspended = job(0);
    suspended["spec"]["suspend"] = serde_json::json!(true);
    assert_eq!(plan(suspended, "Running").changes.len(), 2 * 500, "Pods that are let go and deleted");
}
