//! Custom resources, from the CRD's creation to its end.

use cluster_apiserver::store::journal::memory::MemoryDisk;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Harness, Raw, eventually};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/g.io/v1/namespaces/default/foos";

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.g.io"},
        "spec": {
            "group": "g.io", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"]},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true,
                    "additionalPrinterColumns": [
                        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    ],
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.sel",
                    }},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "required": ["req"], "properties": {
                            "req": {"type": "string", "minLength": 2}, "color": {"type": "string"},
                            "n": {"type": "integer", "default": 1, "maximum": 5},
                        }},
                        "status": {
                            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                            "properties": {"phase": {"type": "string"}},
                        },
                    }}},
                },
                {
                    "name": "v1beta1", "served": true, "storage": false,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "req": {"type": "string"}, "n": {"type": "integer"}, "old": {"type": "string", "default": "o"},
                        }},
                    }}},
                },
            ],
        },
    })
}

fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "g.io/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

async fn establish(raw: &Raw) {
    let made = raw.post(CRDS, &crd()).await;
    assert_eq!(made.status, 201, "{}", made.message());
    eventually("the CRD is served", || async { raw.get(FOOS).await.status == 200 }).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_comes_into_being() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    assert_eq!(raw.get(FOOS).await.status, 404);
    establish(&raw).await;
    let crd = raw.get(&format!("{CRDS}/foos.g.io")).await.json();
    let reasons: Vec<_> =
        crd["status"]["conditions"].as_array().expect("conditions").iter().map(|c| c["reason"].clone()).collect();
    assert_eq!(reasons, ["NoConflicts", "InitialNamesAccepted"]);
    assert_eq!(crd["spec"]["names"]["listKind"], "FooList");
    let group = raw.get("/apis/g.io").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let resources = raw.get("/apis/g.io/v1").await.json();
    let names: Vec<_> = resources["resources"].as_array().expect("list").iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names, ["foos", "foos/status", "foos/scale"]);
}

#[tokio::test(start_paused = true)]
async fn the_schema_prunes_defaults_and_refuses() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let made = raw.post(FOOS, &foo("a", json!({"req": "xx", "unknown": 1}))).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.headers["warning"], "299 - \"unknown field \\\"spec.unknown\\\"\"");
    assert_eq!(made.json()["spec"], json!({"req": "xx", "n": 1}));
    let strict =
        raw.post(&format!("{FOOS}?fieldValidation=Strict"), &foo("b", json!({"req": "xx", "unknown": 1}))).await;
    assert_eq!(
        strict.message(),
        "Foo in version \"v1\" cannot be handled as a Foo: strict decoding error: unknown field \"spec.unknown\""
    );
    let refused = raw.post(FOOS, &foo("c", json!({"req": "x", "n": 9}))).await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.message(),
        "Foo.g.io \"c\" is invalid: [spec.n: Invalid value: 9: spec.n in body should be less than or equal to 5, \
         spec.req: Invalid value: \"x\": spec.req in body should be at least 2 chars long]"
    );
    let strategic = raw
        .request(http::Method::PATCH, &format!("{FOOS}/a"), "application/strategic-merge-patch+json", &json!({}))
        .await;
    assert_eq!(strategic.status, 415);
}

#[tokio::test(start_paused = true)]
async fn status_scale_and_generation() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let mut object = foo("a", json!({"req": "xx"}));
    object["status"] = json!({"n": 7});
    let made = raw.post(FOOS, &object).await.json();
    assert_eq!((made.get("status"), made["metadata"]["generation"].as_i64()), (None, Some(1)));
    let path = format!("{FOOS}/a");
    let main = raw.merge(&path, &json!({"spec": {"n": 2}, "status": {"n": 9}})).await.json();
    assert_eq!((main.get("status"), main["metadata"]["generation"].as_i64()), (None, Some(2)));
    let status = json!({"status": {"n": 2, "sel": "a=b", "conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"n": 4}});
    let status = raw.merge(&format!("{path}/status"), &status).await.json();
    assert_eq!((status["spec"]["n"].as_i64(), status["metadata"]["generation"].as_i64()), (Some(2), Some(2)));
    let scale = raw.get(&format!("{path}/scale")).await.json();
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 2, "selector": "a=b"}))
    );
    let scaled = raw.merge(&format!("{path}/scale"), &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!(scaled["spec"]["replicas"], 3);
    assert_eq!(raw.get(&path).await.json()["spec"]["n"], 3);
    // Of a status its own values are checked, in words that begin there.
    let refused = raw.merge(&format!("{path}/status"), &json!({"status": {"phase": 5, "n": "many"}})).await;
    assert_eq!(
        refused.message(),
        "Foo.g.io \"a\" is invalid: [status.phase: Invalid value: \"integer\": phase in body must be of type string: \"integer\", \
         .status.n: Invalid value: 0: .status.n accessor error: many is of the type string, expected int64]"
    );
    let table = raw.get_as(FOOS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "True"]));
    let norv = raw.put(&path, &foo("a", json!({"req": "yy"}))).await;
    assert_eq!((norv.status.as_u16(), norv.message().contains("must be specified for an update")), (422, true));
}

#[tokio::test(start_paused = true)]
async fn versions_show_the_same_objects_in_their_own_shape() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    raw.post(FOOS, &foo("a", json!({"req": "xx", "color": "red"}))).await;
    let beta = FOOS.replace("/v1/", "/v1beta1/");
    let seen = raw.get(&format!("{beta}/a")).await.json();
    assert_eq!(seen["apiVersion"], "g.io/v1beta1");
    assert_eq!(
        seen["spec"],
        json!({"req": "xx", "n": 1}),
        "pruned on reading; defaults are those of the version that is kept"
    );
    let selected = raw.get(&format!("{FOOS}?fieldSelector=spec.color%3Dred")).await.json();
    assert_eq!(selected["items"].as_array().expect("items").len(), 1);
    assert_eq!(selected["items"][0]["kind"], "Foo", "items of custom kinds carry their type");
    let unknown = raw.get(&format!("{FOOS}?fieldSelector=spec.n%3D1")).await;
    assert_eq!((unknown.status.as_u16(), unknown.message()), (400, "field label not supported: spec.n".to_owned()));
}

/// As a kube-apiserver does it: what was sent is gone where the version that is kept does not know it.
#[tokio::test(start_paused = true)]
async fn an_object_is_kept_in_one_version_whichever_it_was_written_in() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let beta = FOOS.replace("/v1/", "/v1beta1/");
    let mut sent = foo("b", json!({"req": "xx", "old": "mine"}));
    sent["apiVersion"] = json!("g.io/v1beta1");
    let tried = raw.post(&format!("{beta}?dryRun=All"), &sent).await;
    assert_eq!(
        (tried.status.as_u16(), &tried.json()["spec"]),
        (201, &json!({"req": "xx", "n": 1})),
        "{}",
        tried.message()
    );
    let made = raw.post(&beta, &sent).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["spec"]),
        (201, &json!({"req": "xx", "n": 1})),
        "{}",
        made.message()
    );
    assert_eq!(made.json()["apiVersion"], "g.io/v1beta1");
    assert_eq!(raw.get(&format!("{FOOS}/b")).await.json()["spec"], json!({"req": "xx", "n": 1}));
    let changed = raw.merge(&format!("{beta}/b"), &json!({"spec": {"old": "again"}})).await.json();
    assert_eq!((&changed["spec"], &changed["metadata"]["generation"]), (&json!({"req": "xx", "n": 1}), &json!(2)));
    // Once another version is kept, what was written before is there until it is written again.
    raw.post(FOOS, &foo("a", json!({"req": "xx", "color": "red"}))).await;
    let path = format!("{CRDS}/foos.g.io");
    let mut moved = raw.get(&path).await.json();
    moved["spec"]["versions"][0]["storage"] = json!(false);
    moved["spec"]["versions"][1]["storage"] = json!(true);
    assert_eq!(raw.put(&path, &moved).await.status, 200);
    assert_eq!(raw.get(&format!("{beta}/a")).await.json()["spec"], json!({"req": "xx", "n": 1}));
    assert_eq!(raw.get(&format!("{FOOS}/a")).await.json()["spec"], json!({"req": "xx", "color": "red", "n": 1}));
    let written = raw.merge(&format!("{FOOS}/a"), &json!({})).await.json();
    assert_eq!(written["spec"], json!({"req": "xx", "n": 1}), "v1beta1 knows no color");
    assert_eq!(raw.get(&format!("{beta}/a")).await.json()["spec"], json!({"req": "xx", "n": 1, "old": "o"}));
}

#[tokio::test(start_paused = true)]
async fn defaults_that_come_later_are_seen_on_reading() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    raw.post(FOOS, &foo("a", json!({"req": "xx"}))).await;
    let mut newer = raw.get(&format!("{CRDS}/foos.g.io")).await.json();
    newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["late"] =
        json!({"type": "string", "default": "now"});
    assert_eq!(raw.put(&format!("{CRDS}/foos.g.io"), &newer).await.status, 200);
    assert_eq!(raw.get(&format!("{FOOS}/a")).await.json()["spec"]["late"], "now");
}

#[tokio::test(start_paused = true)]
async fn a_status_begins_as_the_schema_says() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut crd = crd();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] =
        json!({"phase": "Waiting"});
    assert_eq!(raw.post(CRDS, &crd).await.status, 201);
    eventually("the CRD is served", || async { raw.get(FOOS).await.status == 200 }).await;
    let mut sent = foo("a", json!({"req": "xx"}));
    sent["status"] = json!({"phase": "Sent"});
    let made = raw.post(FOOS, &sent).await.json();
    assert_eq!(made["status"], json!({"phase": "Waiting"}), "what is sent with a new object is not kept");
    assert_eq!(raw.get(&format!("{FOOS}/a")).await.json()["status"], made["status"]);
}

#[tokio::test(start_paused = true)]
async fn finalizers_that_may_clash_are_told() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let mut held = foo("held", json!({"req": "xx"}));
    held["metadata"]["finalizers"] = json!(["x.io/f", "finalizer.x.io", "foregroundDeletion"]);
    let told = "299 - \"metadata.finalizers: \\\"finalizer.x.io\\\": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers\"";
    assert_eq!(raw.post(FOOS, &held).await.headers["warning"], told);
    let labelled = raw.merge(&format!("{FOOS}/held"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert!(labelled.headers.get("warning").is_none(), "of what is not new nothing is said");
}

#[tokio::test(start_paused = true)]
async fn a_kind_goes_and_takes_its_objects_along() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    raw.post(FOOS, &foo("plain", json!({"req": "xx"}))).await;
    let mut held = foo("held", json!({"req": "xx"}));
    held["metadata"]["finalizers"] = json!(["x.io/f"]);
    raw.post(FOOS, &held).await;
    let ending = raw.delete(&format!("{CRDS}/foos.g.io"), &json!(null)).await.json();
    assert_eq!(ending["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    eventually("the object that nothing holds is gone", || async {
        raw.get(&format!("{FOOS}/plain")).await.status == 404
    })
    .await;
    assert_eq!(raw.get(&format!("{CRDS}/foos.g.io")).await.status, 200, "it waits for what is held");
    raw.merge(&format!("{FOOS}/held"), &json!({"metadata": {"finalizers": null}})).await;
    eventually("the CRD is gone", || async { raw.get(&format!("{CRDS}/foos.g.io")).await.status == 404 }).await;
    assert_eq!(raw.get(FOOS).await.status, 404);
    establish(&raw).await;
    assert_eq!(raw.get(FOOS).await.json()["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn two_kinds_cannot_have_one_name() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let mut other = crd();
    other["metadata"]["name"] = json!("bars.g.io");
    other["spec"]["names"] = json!({"plural": "bars", "kind": "Bar", "shortNames": ["fo"]});
    raw.post(CRDS, &other).await;
    let path = format!("{CRDS}/bars.g.io");
    eventually("it is refused", || async {
        raw.get(&path).await.json()["status"]["conditions"][0]["reason"] == "ShortNamesConflict"
    })
    .await;
    assert_eq!(raw.get("/apis/g.io/v1/bars").await.status, 404);
    raw.delete(&format!("{CRDS}/foos.g.io"), &json!(null)).await;
    eventually("the name is free", || async { raw.get("/apis/g.io/v1/bars").await.status == 200 }).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_built_in_stays_what_it_is() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    let mut shadow = crd();
    shadow["metadata"] = json!({
        "name": "roles.rbac.authorization.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
    });
    shadow["spec"]["group"] = json!("rbac.authorization.k8s.io");
    shadow["spec"]["names"] = json!({"plural": "roles", "kind": "Foo"});
    assert_eq!(raw.post(CRDS, &shadow).await.status, 201);
    let path = format!("{CRDS}/roles.rbac.authorization.k8s.io");
    eventually("it is refused", || async {
        raw.get(&path).await.json()["status"]["conditions"][0]["reason"] == "PluralConflict"
    })
    .await;
    assert_eq!(raw.get("/apis/rbac.authorization.k8s.io/v1/roles").await.json()["kind"], "RoleList");
    shadow["metadata"] = json!({"name": "foos.rbac.authorization.k8s.io"});
    shadow["spec"]["names"] = json!({"plural": "foos", "kind": "Foo"});
    let refused = raw.post(CRDS, &shadow).await;
    assert_eq!(refused.status, 422);
    assert!(refused.message().contains("protected groups must have approval annotation"), "{}", refused.message());
}

#[tokio::test(start_paused = true)]
async fn an_ending_kind_takes_nothing_new_and_tells_its_end() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let mut held = foo("held", json!({"req": "xx"}));
    held["metadata"]["finalizers"] = json!(["x.io/f"]);
    let made = raw.post(FOOS, &held).await.json();
    let from = made["metadata"]["resourceVersion"].as_str().expect("revision");
    // Nothing is read of it until the kind is gone.
    let request = http::Request::builder()
        .uri(format!("{FOOS}?watch=1&resourceVersion={from}"))
        .body(http_body_util::Full::default())
        .expect("request");
    let watch = raw.open(request).await;
    raw.delete(&format!("{CRDS}/foos.g.io"), &json!(null)).await;
    let refused = raw.post(FOOS, &foo("new", json!({"req": "xx"}))).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (405, "create not allowed while custom resource definition is terminating".to_owned())
    );
    eventually("it is marked", || async {
        raw.get(&format!("{FOOS}/held")).await.json()["metadata"].get("deletionTimestamp").is_some()
    })
    .await;
    raw.merge(&format!("{FOOS}/held"), &json!({"metadata": {"finalizers": null}})).await;
    eventually("the CRD is gone", || async { raw.get(&format!("{CRDS}/foos.g.io")).await.status == 404 }).await;
    let body = http_body_util::BodyExt::collect(watch.into_body()).await.expect("body").to_bytes();
    let types: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).expect("event")["type"].clone())
        .collect();
    assert_eq!(types, ["MODIFIED", "DELETED"]);
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_cannot_be_settled_keeps_no_other_back() {
    let disk = MemoryDisk::new();
    let journal = disk.journal();
    // Stored by something else, and nothing that a write would be let through with: its status can never be written.
    let store = cluster_apiserver::store::Store::open(journal, &base_rt::metrics::Scope::root()).expect("open");
    let table = cluster_apiserver::store::TableName::from("customresourcedefinitions.apiextensions.k8s.io");
    store.ensure_table(&table);
    let write = cluster_apiserver::store::Write {
        table,
        key: "a.bad.io".into(),
        expected: cluster_apiserver::store::Expected::Absent,
        durability: cluster_apiserver::store::Durability::Durable,
        is_deletion: false,
        max_bytes: usize::MAX,
    };
    let bad = json!({"metadata": {"name": "not.its.name"}, "spec": {"group": "bad.io"}}).to_string().into_bytes();
    let body = |_| cluster_apiserver::store::NewBody { body: bad, labels: Default::default(), shape: 0 };
    store.commit(write, body).await.expect("write");
    store.close();
    let harness = Harness::start_with(disk, Vec::new()).await;
    establish(&harness.raw()).await;
    harness.server.crds_settled(&["foos.g.io", "never.was.io"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_scale_is_an_int32() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    raw.post(FOOS, &foo("a", json!({"req": "xx"}))).await;
    for replicas in [json!(3_000_000_000_u32), json!(1.5), json!("2")] {
        let refused = raw.merge(&format!("{FOOS}/a/scale"), &json!({"spec": {"replicas": replicas}})).await;
        assert_eq!(refused.status, 422, "{}", refused.message());
        assert!(refused.message().contains("into Go struct field"), "{}", refused.message());
    }
}

/// Texts and counts of a real server.
#[tokio::test(start_paused = true)]
async fn what_custom_objects_may_not_be_is_said_in_kubernetes_words() {
    let harness = Harness::start().await;
    let raw = harness.raw();
    establish(&raw).await;
    let path = format!("{FOOS}/a");
    raw.post(FOOS, &foo("a", json!({"req": "xx"}))).await;
    let wrong_status = raw.merge(&format!("{path}/status"), &json!({"status": 5})).await.json();
    assert_eq!(
        wrong_status["details"]["causes"][0]["message"],
        "Invalid value: \"integer\":  in body must be of type object: \"integer\""
    );
    let causes = |answer: Value| answer["details"]["causes"].as_array().map_or(0, Vec::len);
    let labels = json!({"metadata": {"labels": {"a": "not valid!"}}});
    assert_eq!(causes(raw.merge(&path, &labels).await.json()), 3, "once for every check");
    let finalizers = json!({"metadata": {"finalizers": ["not valid!"]}});
    assert_eq!(causes(raw.merge(&path, &finalizers).await.json()), 1);
    let unqualified = json!({"metadata": {"finalizers": ["hold"]}});
    let warnings: Vec<usize> = [raw.merge(&path, &unqualified).await, raw.merge(&path, &unqualified).await]
        .iter()
        .map(|answer| answer.headers.get_all("warning").iter().count())
        .collect();
    assert_eq!(warnings, [1, 0], "of those that are added");
    for (query, message) in [
        ("", "the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in '{}' ({})"),
        (
            "?fieldValidation=Ignore",
            "Foo in version \"v1\" cannot be handled as a Foo: Object 'Kind' is missing in '{}'",
        ),
    ] {
        assert_eq!(raw.put(&format!("{path}{query}"), &json!({})).await.message(), message);
    }
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": "x"}});
    assert_eq!(
        raw.put(&format!("{path}/scale"), &scale).await.message(),
        "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\""
    );
    let apply = async |name: &str, metadata: Value| {
        let mut config = foo(name, json!({"req": "xx"}));
        config["metadata"] = metadata;
        raw.request(Method::PATCH, &format!("{FOOS}/{name}?fieldManager=m"), "application/apply-patch+yaml", &config)
            .await
    };
    let made = apply("b", json!({"name": "b", "creationTimestamp": "yesterday"})).await;
    assert_eq!(made.status, 201, "what does not fit is dropped: {}", made.message());
    let refused = apply("c", json!({"name": "c", "resourceVersion": "x"})).await;
    assert_eq!(
        (refused.status.as_u16(), refused.message()),
        (500, "strconv.ParseUint: parsing \"x\": invalid syntax".to_owned())
    );
    let unknown = raw.request(Method::POST, FOOS, "text/plain", &foo("d", json!({"req": "xx"}))).await;
    assert!(unknown.message().ends_with("application/json, application/yaml, application/vnd.kubernetes.protobuf"));
}
