//! Every rule of `apply`, against the API server, without a controller.

use base_controller::apply::{Applied, Applier, ApplyError, Outcome, Subject};
use base_controller::{Change, Condition, Finalizer, Plan, PlanEvent};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::fake_api::Failure;
use crate::workload::{DEPLOYMENTS, MAPS, World, config_map, deployment, object};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/n/deployments/d";

async fn apply(world: &World, subject: &Deployment, plan: Plan<Value>) -> Applied {
    let subject = Subject::try_new(&ApiResource::erase::<Deployment>(&()), subject).unwrap();
    Applier::new(world.client.clone())
        .apply(Some(subject), plan, |status, condition| {
            status["conditions"] = json!([condition]);
        })
        .await
}

async fn world() -> (World, Deployment) {
    let world = World::new();
    let subject = world.create(&deployment("d", 1)).await;
    world.api.writes();
    (world, subject)
}

fn plan(changes: Vec<Change>) -> Plan<Value> {
    Plan { changes, ..Plan::new(json!({"replicas": 7})) }
}

fn refusal() -> Condition {
    Condition {
        type_: "Ready".into(),
        status: "False".into(),
        reason: "Denied".into(),
        message: "it said: {error}.".into(),
    }
}

fn forbid(world: &World, part: &'static str) {
    world.api.fail(part, Failure(403, "Forbidden", "quota".into()));
}

#[tokio::test(start_paused = true)]
async fn the_order_is_finalizer_changes_status_finalizer() {
    let (world, subject) = world().await;
    let old = world.create(&config_map("old", json!({}))).await;
    world.api.writes();
    let changes = vec![Change::create(&config_map("new", json!({}))), Change::delete(&old)];
    let adding = Plan { finalizer: Finalizer::Add("x/y"), ..plan(changes) };
    let applied = apply(&world, &subject, adding).await;
    assert_eq!(applied.outcome.unwrap(), Outcome::Done);
    let expected = [
        format!("PUT {DEPLOYMENT}"),
        "POST /api/v1/namespaces/n/configmaps".into(),
        "DELETE /api/v1/namespaces/n/configmaps/old".into(),
        format!("PUT {DEPLOYMENT}/status"),
    ];
    assert_eq!(world.api.writes(), expected);
    assert_eq!(applied.writes.len(), 4);
    let subject: Deployment = object(world.api.object(DEPLOYMENTS, "d").unwrap());
    let removing = Plan { finalizer: Finalizer::Remove("x/y"), ..Plan::new(json!({"replicas": 8})) };
    assert!(apply(&world, &subject, removing).await.outcome.is_ok());
    assert_eq!(world.api.writes(), [format!("PUT {DEPLOYMENT}/status"), format!("PUT {DEPLOYMENT}")]);
    assert_eq!(world.api.object(DEPLOYMENTS, "d").unwrap()["metadata"]["finalizers"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_not_written() {
    let (world, _) = world().await;
    world.update::<Deployment>("d", |d| d.metadata.finalizers = Some(vec!["x/y".into()])).await;
    let subject: Deployment = object(world.api.object(DEPLOYMENTS, "d").unwrap());
    let map = world.create(&config_map("m", json!({"theirs": "1", "mine": "2"}))).await;
    world.api.writes();
    let changes = vec![Change::overlay(&map, &config_map("m", json!({"mine": "2"})))];
    let plan = Plan { finalizer: Finalizer::Add("x/y"), changes, ..Plan::new(json!({})) };
    let applied = apply(&world, &subject, plan).await;
    assert_eq!(applied.outcome.unwrap(), Outcome::Done);
    assert!(world.api.writes().is_empty() && applied.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_overlay_is_a_put_over_the_bases_version() {
    let (world, subject) = world().await;
    let base = world.create(&config_map("m", json!({"theirs": "1", "mine": "2", "gone": "3"}))).await;
    let mut desired = config_map("m", json!({"mine": "new"}));
    desired.metadata.resource_version = Some("a maker's mistake".into());
    let change = || Change::overlay(&base, &desired).removing(&["data", "gone"]);
    assert!(apply(&world, &subject, plan(vec![change()])).await.outcome.is_ok());
    assert_eq!(world.api.object(MAPS, "m").unwrap()["data"], json!({"theirs": "1", "mine": "new"}));
    // The base is stale now: nothing after it happens.
    world.update::<ConfigMap>("m", |map| map.immutable = Some(false)).await;
    world.api.writes();
    let again = plan(vec![change(), Change::create(&config_map("never", json!({})))]);
    let applied = apply(&world, &subject, Plan { status: json!({"replicas": 9}), ..again }).await;
    assert_eq!(applied.outcome.unwrap(), Outcome::Conflict);
    assert_eq!(world.api.writes(), ["PUT /api/v1/namespaces/n/configmaps/m"]);
    assert_eq!(world.status("d")["replicas"], 7);
}

#[tokio::test(start_paused = true)]
async fn a_status_in_an_overlay_goes_nowhere_unless_asked() {
    let (world, subject) = world().await;
    let change = |subresource: Option<&'static str>| {
        let fields = json!({"status": {"replicas": 5}, "metadata": {"labels": {"a": "b"}}});
        let change = Change::overlay_fields(&subject, fields);
        subresource.map_or(change.clone(), |name| change.to_subresource(name))
    };
    let applier = Applier::new(world.client.clone());
    assert!(applier.apply_changes(vec![change(Some("status"))]).await.outcome.is_ok());
    assert_eq!(world.status("d"), json!({"replicas": 5}));
    assert!(world.api.object(DEPLOYMENTS, "d").unwrap()["metadata"]["labels"].is_null());
    let outcome = applier.apply_changes(vec![change(None)]).await.outcome;
    assert_eq!(outcome.unwrap(), Outcome::Conflict, "the base was written in between");
}

#[tokio::test(start_paused = true)]
async fn a_size_is_an_object_of_its_own() {
    let (world, subject) = world().await;
    let version = &subject.metadata.resource_version;
    let scale: Scale = object(json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1},
        "metadata": {"name": "d", "namespace": "n", "resourceVersion": version},
    }));
    let resource = ApiResource::erase::<Deployment>(&());
    let larger = Change::overlay_of(resource, &scale, json!({"spec": {"replicas": 3}})).to_subresource("scale");
    let outcome = Applier::new(world.client.clone()).apply_changes(vec![larger]).await.outcome;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(world.api.object(DEPLOYMENTS, "d").unwrap()["spec"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn changing_the_object_itself_does_not_conflict_with_its_status() {
    let (world, subject) = world().await;
    let changes = vec![
        Change::overlay_fields(&subject, json!({"metadata": {"annotations": {"a": "b"}}})),
        Change::overlay_fields(&subject, json!({"spec": {"paused": true}})),
    ];
    let plan = Plan { finalizer: Finalizer::Add("x/y"), ..plan(changes) };
    assert_eq!(apply(&world, &subject, plan).await.outcome.unwrap(), Outcome::Done);
    let object = world.api.object(DEPLOYMENTS, "d").unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["x/y"]));
    assert_eq!(object["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!((&object["spec"]["paused"], &object["status"]["replicas"]), (&json!(true), &json!(7)));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_changed_on_the_way_in_stays() {
    let (world, subject) = world().await;
    world.api.admit(|deployment| deployment["spec"]["paused"] = json!(true));
    let changes = vec![Change::overlay_fields(&subject, json!({"metadata": {"annotations": {"a": "b"}}}))];
    let plan = Plan { finalizer: Finalizer::Add("x/y"), ..plan(changes) };
    assert_eq!(apply(&world, &subject, plan).await.outcome.unwrap(), Outcome::Done);
    let object = world.api.object(DEPLOYMENTS, "d").unwrap();
    assert_eq!(object["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(object["spec"]["paused"], true, "an overlay after it builds on the server's answer");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_skips_the_rest_sets_its_condition_and_keeps_the_finalizer() {
    let (world, _) = world().await;
    world.update::<Deployment>("d", |d| d.metadata.finalizers = Some(vec!["x/y".into()])).await;
    let subject: Deployment = object(world.api.object(DEPLOYMENTS, "d").unwrap());
    world.api.writes();
    forbid(&world, "POST");
    let changes = ["first", "second"].map(|name| Change::create(&config_map(name, json!({}))).or_condition(refusal()));
    let plan = Plan { finalizer: Finalizer::Remove("x/y"), ..plan(changes.into()) };
    let applied = apply(&world, &subject, plan).await;
    assert_eq!(applied.outcome.unwrap(), Outcome::Done);
    assert_eq!(applied.refused.unwrap().message, "quota");
    assert_eq!(
        world.api.writes(),
        ["POST /api/v1/namespaces/n/configmaps".to_owned(), format!("PUT {DEPLOYMENT}/status")]
    );
    let status = world.status("d");
    assert_eq!(status["replicas"], 7, "the rest of the status is written too");
    assert_eq!(
        status["conditions"],
        json!([{"type": "Ready", "status": "False", "reason": "Denied", "message": "it said: quota."}])
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_means() {
    let create = |_: &ConfigMap| Change::create(&config_map("new", json!({}))).or_condition(refusal());
    let overlay = |map: &ConfigMap| Change::overlay(map, &config_map("m", json!({"a": "b"}))).or_condition(refusal());
    let delete = |map: &ConfigMap| Change::delete(map).or_condition(refusal());
    let bind = |_: &ConfigMap| {
        Change::post(
            &Pod {
                metadata: kube::api::ObjectMeta {
                    name: Some("p".into()),
                    namespace: Some("n".into()),
                    ..Default::default()
                },
                ..Pod::default()
            },
            "binding",
            &json!({}),
        )
        .or_condition(refusal())
    };
    type Make = fn(&ConfigMap) -> Change;
    let rows: [(&str, Make, u16, &str, &str); 16] = [
        ("a create of what is there", create, 409, "AlreadyExists", "conflict"),
        ("a create in a namespace that is not there", create, 404, "NotFound", "refused"),
        ("a create over quota", create, 403, "Forbidden", "refused"),
        ("an invalid object", create, 422, "Invalid", "refused"),
        ("a bad request", create, 400, "BadRequest", "refused"),
        ("an overlay that is late", overlay, 409, "Conflict", "conflict"),
        ("an overlay of what is gone", overlay, 404, "NotFound", "conflict"),
        ("an overlay that is denied", overlay, 400, "BadRequest", "refused"),
        ("a deletion of what is gone", delete, 404, "NotFound", "done"),
        ("a deletion of what has another uid", delete, 409, "Conflict", "conflict"),
        ("a deletion that is denied", delete, 403, "Forbidden", "refused"),
        ("a post to what is gone", bind, 404, "NotFound", "conflict"),
        ("a post that is late", bind, 409, "Conflict", "conflict"),
        ("a server in trouble", create, 500, "InternalError", "error"),
        ("a server that is busy", overlay, 429, "TooManyRequests", "error"),
        ("credentials that have expired", delete, 401, "Unauthorized", "error"),
    ];
    for (case, make, code, reason, expected) in rows {
        let (world, subject) = world().await;
        let map = world.create(&config_map("m", json!({}))).await;
        world.api.writes();
        for method in ["POST", "PUT /api/v1", "DELETE"] {
            world.api.fail(method, Failure(code, reason, "no".into()));
        }
        let applied = apply(&world, &subject, plan(vec![make(&map)])).await;
        let got = match (&applied.outcome, &applied.refused) {
            (Ok(Outcome::Conflict), _) => "conflict",
            (Ok(_), Some(_)) => "refused",
            (Ok(_), None) => "done",
            (Err(error), _) => {
                assert!(error.is_unsure(), "{case}");
                "error"
            }
        };
        assert_eq!(got, expected, "{case}");
        let is_status_written = world.status("d")["replicas"] == 7;
        assert_eq!(is_status_written, matches!(expected, "refused" | "done"), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_condition_is_an_error_after_the_status() {
    let (world, subject) = world().await;
    forbid(&world, "POST");
    let applied = apply(&world, &subject, plan(vec![Change::create(&config_map("m", json!({})))])).await;
    let error = applied.outcome.unwrap_err();
    assert_eq!(error.to_string(), "ConfigMap n/m was refused: quota");
    assert!(matches!(error, ApplyError::Refused { .. }) && !error.is_unsure());
    assert_eq!(world.status("d")["replicas"], 7, "the status is written all the same");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_needs_no_status_and_no_finalizer() {
    let (world, subject) = world().await;
    world.delete::<Deployment>("d").await;
    let mut subject = subject;
    subject.metadata.finalizers = Some(vec!["x/y".into()]);
    let plan = Plan { finalizer: Finalizer::Remove("x/y"), ..plan(vec![]) };
    assert_eq!(apply(&world, &subject, plan).await.outcome.unwrap(), Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_an_error_in_the_end() {
    let (world, subject) = world().await;
    world.api.delay(|| std::time::Duration::from_secs(3600));
    let error = apply(&world, &subject, plan(vec![])).await.outcome.unwrap_err();
    assert_eq!(error.to_string(), "writing Deployment.apps n/d took longer than 30 s");
    assert!(error.is_unsure());
}

fn metadata_of(map: &ConfigMap) -> kube::core::PartialObjectMeta<ConfigMap> {
    use kube::core::PartialObjectMetaExt;
    map.metadata.clone().into_response_partial()
}

#[tokio::test(start_paused = true)]
async fn a_merge_needs_no_more_than_metadata_and_builds_on_its_version() {
    let (world, _) = world().await;
    let base = world.create(&config_map("m", json!({"a": "1"}))).await;
    let applier = Applier::new(world.client.clone());
    let merge = || {
        let resource = ApiResource::erase::<ConfigMap>(&());
        Change::merge_of(resource, &metadata_of(&base), json!({"metadata": {"finalizers": ["x/y"]}}))
    };
    let applied = applier.apply_changes(vec![merge()]).await;
    assert_eq!((applied.outcome.unwrap(), applied.writes.len()), (Outcome::Done, 1));
    let merged = world.api.object(MAPS, "m").unwrap();
    assert_eq!((&merged["data"], &merged["metadata"]["finalizers"]), (&json!({"a": "1"}), &json!(["x/y"])));
    assert_eq!(applier.apply_changes(vec![merge()]).await.outcome.unwrap(), Outcome::Conflict);
}

#[tokio::test(start_paused = true)]
async fn an_exact_deletion_spares_another_version() {
    let (world, _) = world().await;
    let base = world.create(&config_map("m", json!({}))).await;
    world.update::<ConfigMap>("m", |map| map.immutable = Some(true)).await;
    let applier = Applier::new(world.client.clone());
    let exact = applier.apply_changes(vec![Change::delete(&base).as_cached()]).await;
    assert_eq!(exact.outcome.unwrap(), Outcome::Conflict);
    assert!(world.api.object(MAPS, "m").is_some());
    assert_eq!(applier.apply_changes(vec![Change::delete(&base)]).await.outcome.unwrap(), Outcome::Done);
    assert!(world.api.object(MAPS, "m").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_in_one_namespace() {
    let (world, _) = world().await;
    world.create(&config_map("a", json!({}))).await;
    world.create(&config_map("b", json!({}))).await;
    let delete = |namespace| Change::delete_collection_of(ApiResource::erase::<ConfigMap>(&()), namespace);
    let applier = Applier::new(world.client.clone());
    assert_eq!(applier.apply_changes(vec![delete("other")]).await.outcome.unwrap(), Outcome::Done);
    assert_eq!(world.api.objects(MAPS).len(), 2);
    assert_eq!(applier.apply_changes(vec![delete("n")]).await.outcome.unwrap(), Outcome::Done);
    assert!(world.api.objects(MAPS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_tells_what_became_of_it() {
    let (world, subject) = world().await;
    let pod = || {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("n".into());
        pod.metadata.generate_name = Some("p-".into());
        Change::create(&pod)
            .with_event(PlanEvent::normal("Created", "Created pod: {name}"))
            .or_event(PlanEvent::warning("Failed", "Error creating: {error}"))
            .or_condition(refusal())
    };
    let applied = apply(&world, &subject, plan(vec![pod()])).await;
    let name = applied.writes[0].key.name().to_owned();
    assert_eq!(applied.events, [PlanEvent::normal("Created", format!("Created pod: {name}"))]);
    forbid(&world, "pods");
    let applied = apply(&world, &subject, plan(vec![pod(), pod()])).await;
    assert_eq!(applied.events, [PlanEvent::warning("Failed", "Error creating: quota")]);
}
