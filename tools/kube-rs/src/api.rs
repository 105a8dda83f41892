//! Objects by themselves: what is served, how it is written and read.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{
    Api, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, ResourceExt,
    entry::Entry,
};
use kube::core::Selector;
use kube::discovery::{Discovery, Scope, pinned_kind, verbs};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

use crate::{Ground, NAMESPACE, refused};

pub async fn make_namespace(on: &Ground) -> Result<()> {
    let spaces: Api<Namespace> = Api::all(on.client.clone());
    spaces.create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(on.client.clone(), NAMESPACE);
    await_condition(accounts, "default", conditions::is_created()).await?;
    Ok(())
}

pub async fn delete_namespace(on: &Ground) -> Result<()> {
    let spaces: Api<Namespace> = Api::all(on.client.clone());
    let uid = spaces.get(NAMESPACE).await?.uid().context("no uid")?;
    spaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    await_condition(spaces, NAMESPACE, conditions::is_deleted(&uid)).await?;
    Ok(())
}

/// Both forms of discovery find the same; of each kind that can be listed the objects are.
pub async fn discover(on: &Ground) -> Result<()> {
    ensure!(on.client.apiserver_version().await?.major == "1");
    let [each, aggregated] =
        [Discovery::new(on.client.clone()).run().await?, Discovery::new(on.client.clone()).run_aggregated().await?];
    let kinds = |found: &Discovery| {
        let mut kinds: Vec<String> = Vec::new();
        for group in found.groups_alphabetical() {
            kinds.extend(
                group.recommended_resources().iter().map(|(kind, _)| format!("{}/{}", kind.api_version, kind.kind)),
            );
        }
        kinds.sort();
        kinds
    };
    ensure!(kinds(&each) == kinds(&aggregated), "{:?} is not {:?}", kinds(&each), kinds(&aggregated));
    let wanted = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, capabilities) = aggregated.resolve_gvk(&wanted).context("there are no Deployments")?;
    ensure!(resource.plural == "deployments" && capabilities.scope == Scope::Namespaced);
    ensure!(
        refused(pinned_kind(&on.client, &GroupVersionKind::gvk("nothing.example.com", "v1", "Nothing")).await)
            == Some(404)
    );
    for group in aggregated.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.supports_operation(verbs::LIST) {
                let all: Api<DynamicObject> = Api::all_with(on.client.clone(), &resource);
                all.list(&ListParams::default()).await.with_context(|| resource.plural.clone())?;
            }
        }
    }
    Ok(())
}

pub async fn write_and_read(on: &Ground) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(on.client.clone(), NAMESPACE);
    let map = |name: String, odd: bool| -> Result<ConfigMap> {
        Ok(serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"page": "yes", "odd": odd.to_string()}}}),
        )?)
    };
    for at in 0..25 {
        maps.create(&PostParams::default(), &map(format!("page-{at}"), at % 2 == 1)?).await?;
    }
    ensure!(refused(maps.create(&PostParams::default(), &map("page-0".to_owned(), false)?).await) == Some(409));
    ensure!(maps.get_opt("nothing").await?.is_none());
    let (mut pages, mut names, mut page) = (0, Vec::new(), ListParams::default().labels("page=yes").limit(10));
    loop {
        let list = maps.list(&page).await?;
        pages += 1;
        names.extend(list.items.iter().map(ResourceExt::name_any));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    ensure!((pages, names.len()) == (3, 25), "{} on {pages} pages", names.len());
    let odd = Selector::from_iter([("page".to_owned(), "yes".to_owned()), ("odd".to_owned(), "true".to_owned())]);
    ensure!(maps.list_metadata(&ListParams::default().labels_from(&odd)).await?.items.len() == 12);
    let stale = maps.get("page-0").await?;
    let Entry::Occupied(entry) = maps.entry("page-0").await? else { anyhow::bail!("page-0 is not there") };
    let mut entry = entry.and_modify(|map| _ = map.annotations_mut().insert("seen".to_owned(), "yes".to_owned()));
    entry.commit(&PostParams::default()).await?;
    ensure!(maps.get_metadata("page-0").await?.annotations()["seen"] == "yes");
    ensure!(
        refused(maps.replace("page-0", &PostParams::default(), &stale).await) == Some(409),
        "an old version is not refused"
    );
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("page")).await?;
    ensure!(maps.list(&ListParams::default().labels("page")).await?.items.is_empty());
    Ok(())
}

pub async fn patch(on: &Ground) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(on.client.clone(), NAMESPACE);
    let map = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "patched"}, "data": data});
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    maps.patch("patched", &one, &Patch::Apply(map(json!({"a": "1", "b": "1"})))).await?;
    let other = Patch::Apply(map(json!({"a": "2"})));
    ensure!(refused(maps.patch("patched", &two, &other).await) == Some(409), "another's field is taken");
    maps.patch("patched", &two.clone().force(), &other).await?;
    maps.patch("patched", &one, &Patch::Apply(map(json!({})))).await?;
    maps.patch("patched", &PatchParams::default(), &Patch::Merge(json!({"data": {"c": "3"}}))).await?;
    let add = json!([{"op": "test", "path": "/data/c", "value": "3"}, {"op": "add", "path": "/data/d", "value": "4"}]);
    let add: json_patch::Patch = serde_json::from_value(add)?;
    let now = maps.patch("patched", &PatchParams::default(), &Patch::Json::<()>(add)).await?;
    ensure!(json!(now.data) == json!({"a": "2", "c": "3", "d": "4"}), "{:?}", now.data);
    let labelled = json!({"metadata": {"labels": {"patched": "yes"}}});
    let labelled = maps.patch_metadata("patched", &PatchParams::default(), &Patch::Merge(labelled)).await?;
    ensure!(labelled.labels()["patched"] == "yes");
    // A list with a key is merged by it.
    let deployments: Api<Deployment> = Api::namespaced(on.client.clone(), NAMESPACE);
    let container = |environment: serde_json::Value| json!([{"name": "c", "image": "i", "env": environment}]);
    let deployment = json!({"metadata": {"name": "patched"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "p"}},
        "template": {"metadata": {"labels": {"app": "p"}}, "spec": {"containers": container(json!([{"name": "A", "value": "1"}]))}},
    }});
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let more = json!({"spec": {"template": {"spec": {"containers": container(json!([{"name": "B", "value": "2"}]))}}}});
    let now = deployments.patch("patched", &PatchParams::default(), &Patch::Strategic(more)).await?;
    let environment = json!(now.spec)["template"]["spec"]["containers"][0]["env"].take();
    ensure!(environment.as_array().is_some_and(|all| all.len() == 2), "{environment}");
    let restarted = json!(deployments.restart("patched").await?.spec)["template"]["metadata"]["annotations"].take();
    ensure!(restarted["kube.kubernetes.io/restartedAt"].is_string(), "{restarted}");
    let replicas = Patch::Merge(json!({"spec": {"replicas": 1}}));
    let scaled = deployments.patch_scale("patched", &PatchParams::default(), &replicas).await?;
    ensure!(json!(scaled.spec)["replicas"] == 1);
    deployments.delete("patched", &DeleteParams::foreground()).await?;
    Ok(())
}
