//! Controllers: a kind of their own, a cache that follows it, and what is made of its objects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event as Recorded;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Resource, ResourceExt};
use kube::core::CustomResourceExt;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::finalizer::{Event as Life, finalizer};
use kube::runtime::reflector::store;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, CustomResource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Ground, NAMESPACE, refused, until};

const MANAGER: &str = "generator.rs.example.com";
const FINALIZER: &str = "syncer.rs.example.com/cleanup";
const SYNCED: &str = "syncer.rs.example.com/sync=true";

/// What a ConfigMap is generated from.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "rs.example.com",
    version = "v1",
    kind = "Generator",
    namespaced,
    shortname = "gen",
    status = "GeneratorStatus"
)]
#[kube(scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas"))]
#[kube(printcolumn(name = "Content", json_path = ".spec.content", type_ = "string"))]
pub struct GeneratorSpec {
    #[schemars(length(min = 1))]
    content: String,
    #[serde(default = "one")]
    replicas: i32,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct GeneratorStatus {
    replicas: i32,
    generated: bool,
}

fn one() -> i32 {
    1
}

fn generator(name: &str, content: &str) -> Generator {
    Generator::new(name, GeneratorSpec { content: content.to_owned(), replicas: one() })
}

pub async fn define(on: &Ground) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(on.client.clone());
    let name = Generator::crd_name();
    definitions.patch(name, &PatchParams::apply("definer").force(), &Patch::Apply(Generator::crd())).await?;
    await_condition(definitions, name, conditions::is_crd_established()).await?;
    let generators: Api<Generator> = Api::namespaced(on.client.clone(), NAMESPACE);
    generators.create(&PostParams::default(), &generator("scaled", "x")).await?;
    ensure!(refused(generators.create(&PostParams::default(), &generator("empty", "")).await) == Some(422));
    let partly = json!({"apiVersion": "rs.example.com/v1", "kind": "Generator", "metadata": {"name": "defaulted"}, "spec": {"content": "y"}});
    let applied = generators.patch("defaulted", &PatchParams::apply("definer"), &Patch::Apply(partly)).await?;
    ensure!(applied.spec.replicas == one());
    let replicas = Patch::Merge(json!({"spec": {"replicas": 3}}));
    generators.patch_scale("scaled", &PatchParams::default(), &replicas).await?;
    ensure!(generators.get("scaled").await?.spec.replicas == 3);
    ensure!(json!(generators.get_scale("scaled").await?.spec)["replicas"] == 3);
    generators.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
}

/// A cache is filled by lists and watches, or by a watch alone; it follows what comes and goes.
pub async fn reflect(on: &Ground) -> Result<()> {
    let generators: Api<Generator> = Api::namespaced(on.client.clone(), NAMESPACE);
    for config in [watcher::Config::default().page_size(2), watcher::Config::default().streaming_lists()] {
        for name in ["a", "b", "c"] {
            generators.create(&PostParams::default(), &generator(name, "x")).await?;
        }
        let (reader, writer) = store();
        let following = watcher(generators.clone(), config).default_backoff().reflect(writer).applied_objects();
        let following = following.for_each(async |_| ());
        let looking = async {
            reader.wait_until_ready().await?;
            ensure!(reader.len() == 3, "{} of 3", reader.len());
            generators.delete("b", &DeleteParams::default()).await?;
            let changed = Patch::Merge(json!({"spec": {"content": "changed"}}));
            generators.patch("a", &PatchParams::default(), &changed).await?;
            until(async || {
                let is_changed = reader.find(|object| object.spec.content == "changed").is_some();
                Ok(is_changed && reader.len() == 2)
            })
            .await
        };
        tokio::select! {
            () = following => anyhow::bail!("the watch ended"),
            outcome = looking => outcome?,
        }
        generators.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    }
    Ok(())
}

struct Controlling {
    client: Client,
    recorder: Recorder,
}

/// Makes the ConfigMap, then says so in the status and by an event.
async fn reconcile(object: Arc<Generator>, context: Arc<Controlling>) -> kube::Result<Action> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), NAMESPACE);
    let name = object.name_any();
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(object.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        data: Some([("content".to_owned(), object.spec.content.clone())].into()),
        ..ConfigMap::default()
    };
    maps.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(&map)).await?;
    let status = GeneratorStatus { replicas: object.spec.replicas, generated: true };
    let status = json!({"apiVersion": "rs.example.com/v1", "kind": "Generator", "status": status});
    let generators: Api<Generator> = Api::namespaced(context.client.clone(), NAMESPACE);
    generators.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(status)).await?;
    let event = Event {
        type_: EventType::Normal,
        reason: "Generated".to_owned(),
        note: Some(format!("made {name}")),
        action: "Generating".to_owned(),
        secondary: None,
    };
    context.recorder.publish(&event, &object.object_ref(&())).await?;
    Ok(Action::requeue(Duration::from_secs(300)))
}

/// What went wrong is tried again; if it stays wrong, it is known why.
async fn tell<T, E: std::error::Error>(outcome: Result<T, E>) {
    if let Err(error) = outcome {
        eprintln!("{error:?}");
    }
}

pub async fn generate(on: &Ground) -> Result<()> {
    let generators: Api<Generator> = Api::namespaced(on.client.clone(), NAMESPACE);
    let maps: Api<ConfigMap> = Api::namespaced(on.client.clone(), NAMESPACE);
    let recorder = Recorder::new(on.client.clone(), MANAGER.into());
    let controller = Controller::new(generators.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(200)),
            Arc::new(Controlling { client: on.client.clone(), recorder }),
        )
        .for_each(tell);
    let using = async {
        generators.create(&PostParams::default(), &generator("made", "first")).await?;
        let holds = async |content: &str| {
            let map = maps.get_opt("made").await?;
            Ok(map.and_then(|map| map.data).is_some_and(|data| data["content"] == content))
        };
        until(async || holds("first").await).await.context("the ConfigMap")?;
        maps.delete("made", &DeleteParams::default()).await?;
        until(async || holds("first").await).await.context("the ConfigMap after it was deleted")?;
        let changed = Patch::Merge(json!({"spec": {"content": "second", "replicas": 2}}));
        generators.patch("made", &PatchParams::default(), &changed).await?;
        until(async || holds("second").await).await.context("the ConfigMap after a change")?;
        let is_told =
            |object: &Generator| object.status.as_ref().is_some_and(|status| status.generated && status.replicas == 2);
        until(async || Ok(is_told(&generators.get_status("made").await?))).await.context("the status")?;
        let events: Api<Recorded> = Api::namespaced(on.client.clone(), NAMESPACE);
        let about = ListParams::default().fields("regarding.kind=Generator,regarding.name=made");
        // The same event again is counted in the first.
        let is_counted = |event: &Recorded| event.reason.as_deref() == Some("Generated") && event.series.is_some();
        until(async || {
            let list = events.list(&about).await?;
            Ok(list.items.len() == 1 && list.items.iter().all(is_counted))
        })
        .await
        .context("the event")?;
        let uid = maps.get("made").await?.uid().context("no uid")?;
        generators.delete("made", &DeleteParams::background()).await?;
        await_condition(maps.clone(), "made", conditions::is_deleted(&uid))
            .await
            .context("the end of what is owned")?;
        Ok(())
    };
    tokio::select! {
        () = controller => anyhow::bail!("the controller ended"),
        outcome = using => outcome,
    }
}

/// Each ConfigMap with the label has a Secret; it does not go before that has gone.
pub async fn synchronise(on: &Ground) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(on.client.clone(), NAMESPACE);
    let secrets: Api<Secret> = Api::namespaced(on.client.clone(), NAMESPACE);
    let (its_maps, its_secrets) = (maps.clone(), secrets.clone());
    let controller = Controller::new(maps.clone(), watcher::Config::default().labels(SYNCED))
        .run(
            move |map: Arc<ConfigMap>, _| {
                let (maps, secrets) = (its_maps.clone(), its_secrets.clone());
                async move { finalizer(&maps, FINALIZER, map, |life| synchronised(secrets, life)).await }
            },
            |_, _, _| Action::requeue(Duration::from_millis(200)),
            Arc::new(()),
        )
        .for_each(tell);
    let using = async {
        let map = json!({"metadata": {"name": "synced", "labels": {"syncer.rs.example.com/sync": "true"}}, "data": {"key": "word"}});
        let made = maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
        let is_there = async || {
            let secret = secrets.get_opt("of-synced").await?;
            Ok(secret.and_then(|secret| secret.data).is_some_and(|data| data["key"].0 == b"word"))
        };
        until(is_there).await.context("the Secret")?;
        ensure!(maps.get("synced").await?.finalizers() == [FINALIZER]);
        let going = maps.delete("synced", &DeleteParams::default()).await?;
        ensure!(going.left().is_some_and(|map| map.metadata.deletion_timestamp.is_some()), "it does not wait");
        await_condition(maps.clone(), "synced", conditions::is_deleted(&made.uid().context("no uid")?)).await?;
        ensure!(secrets.get_opt("of-synced").await?.is_none(), "the Secret stays");
        Ok(())
    };
    tokio::select! {
        () = controller => anyhow::bail!("the controller ended"),
        outcome = using => outcome,
    }
}

async fn synchronised(secrets: Api<Secret>, life: Life<ConfigMap>) -> kube::Result<Action> {
    match life {
        Life::Apply(map) => {
            let name = format!("of-{}", map.name_any());
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            let secret = Secret { metadata, string_data: map.data.clone(), ..Secret::default() };
            secrets.patch(&name, &PatchParams::apply("syncer"), &Patch::Apply(secret)).await?;
        }
        Life::Cleanup(map) => {
            secrets.delete(&format!("of-{}", map.name_any()), &DeleteParams::default()).await?;
        }
    }
    Ok(Action::await_change())
}
