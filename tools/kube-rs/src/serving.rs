//! The life of a Knative Service: from its creation by way of a second revision, a split and the way back to its end.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    ResourceExt,
};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Ground, step, until};

const NAMESPACE: &str = "kube-rs-serving";
const NAME: &str = "journey";
/// Requests after which each half of a split has answered.
const ENOUGH: usize = 40;

/// The Service, and where it is asked.
struct Journey<'a> {
    on: &'a Ground,
    services: Api<DynamicObject>,
    gateway: &'a str,
}

/// All of it.
pub async fn journey(on: &Ground, gateway: &str) -> Result<()> {
    let journey = Journey { on, services: api(on, "Service"), gateway };
    step("created", journey.create()).await?;
    step("second revision", journey.update()).await?;
    step("split by traffic and tags", journey.split()).await?;
    step("rolled back", journey.roll_back()).await?;
    step("deleted", journey.delete()).await
}

fn api(on: &Ground, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("serving.knative.dev", "v1", kind);
    Api::namespaced_with(on.client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

impl Journey<'_> {
    async fn create(&self) -> Result<()> {
        let spaces: Api<Namespace> = Api::all(self.on.client.clone());
        let space = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        spaces.create(&PostParams::default(), &space).await?;
        self.apply(json!({"template": self.template("one")})).await?;
        self.answers(&["Hello one"]).await
    }

    async fn update(&self) -> Result<()> {
        self.apply(json!({"template": self.template("two")})).await?;
        self.answers(&["Hello two"]).await
    }

    async fn split(&self) -> Result<()> {
        let half = |revision: &str, tag: &str| json!({"revisionName": format!("{NAME}-{revision}"), "tag": tag, "percent": 50});
        self.apply(json!({"template": self.template("two"), "traffic": [half("00001", "one"), half("00002", "two")]}))
            .await?;
        self.answers(&["Hello one", "Hello two"]).await?;
        for target in self.ready().await?["traffic"].as_array().context("no traffic")? {
            let said = self.ask(target["url"].as_str().context("no URL")?).await?;
            ensure!(said == format!("Hello {}", target["tag"].as_str().unwrap_or_default()), "{target} answers {said}");
        }
        Ok(())
    }

    async fn roll_back(&self) -> Result<()> {
        let all = json!({"revisionName": format!("{NAME}-00001"), "percent": 100});
        self.apply(json!({"template": self.template("two"), "traffic": [all]})).await?;
        self.answers(&["Hello one"]).await
    }

    async fn delete(&self) -> Result<()> {
        let uid = self.services.get(NAME).await?.uid().context("no uid")?;
        self.services.delete(NAME, &DeleteParams::foreground()).await?;
        await_condition(self.services.clone(), NAME, conditions::is_deleted(&uid)).await?;
        for kind in ["Configuration", "Revision", "Route"] {
            let left = api(self.on, kind);
            until(async || Ok(left.list(&ListParams::default()).await?.items.is_empty())).await?;
        }
        Api::<Namespace>::all(self.on.client.clone()).delete(NAMESPACE, &DeleteParams::default()).await?;
        Ok(())
    }

    fn template(&self, target: &str) -> Value {
        let container = json!({"image": self.on.image, "env": [{"name": "TARGET", "value": target}]});
        json!({"spec": {"containers": [container]}})
    }

    async fn apply(&self, spec: Value) -> Result<()> {
        let service = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": NAME}, "spec": spec,
        });
        self.services.patch(NAME, &PatchParams::apply("kube-rs").force(), &Patch::Apply(&service)).await?;
        Ok(())
    }

    /// Its status, once that says that its newest generation is ready.
    async fn ready(&self) -> Result<Value> {
        let is_ready = |service: Option<&DynamicObject>| {
            let Some(service) = service else { return false };
            let status = &service.data["status"];
            let conditions = status["conditions"].as_array().into_iter().flatten();
            status["observedGeneration"].as_i64() == service.metadata.generation
                && conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let service = await_condition(self.services.clone(), NAME, is_ready).await?.context("it has gone")?;
        Ok(service.data["status"].clone())
    }

    /// Asks until each of these has answered; nobody else does.
    async fn answers(&self, expected: &[&str]) -> Result<()> {
        let status = self.ready().await?;
        let url = status["url"].as_str().context("no URL")?;
        let mut seen = BTreeSet::new();
        for _ in 0..ENOUGH {
            seen.insert(self.ask(url).await?);
        }
        ensure!(seen.iter().eq(expected), "it answers {seen:?}, not {expected:?}");
        Ok(())
    }

    /// Asks the gateway, whatever the machine makes of the name.
    async fn ask(&self, url: &str) -> Result<String> {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(self.gateway).await?;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{url} answers {head}");
        Ok(body.split('!').next().unwrap_or_default().to_owned())
    }
}
