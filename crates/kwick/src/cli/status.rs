//! `kwick status`: what runs, as the running instance and its API say.

use anyhow::{Context, Result};
use clap::Args;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::{Instance, Output, block_on, connect, require_running, say, table};
use crate::instance::data_dir::DataDir;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kwick status\n  kwick status -o json | jq .addresses.gateway")]
pub(super) struct Status {
    #[command(flatten)]
    instance: Instance,
    /// The form of the answer.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Status {
    pub(super) fn run(&self) -> Result<()> {
        let dir = self.instance.dir()?;
        require_running(&dir, |record| record.api)?;
        let status = block_on(ask(&dir))??;
        say(match self.output {
            Some(Output::Json) => serde_json::to_string_pretty(&status).context("cannot form JSON")?,
            None => for_people(&status),
        })
    }
}

/// The instance's own facts, with the numbers of services and pods.
async fn ask(dir: &DataDir) -> Result<Value> {
    let client = connect(&dir.join("kubeconfig")).await?;
    let request = http::Request::get("/kwick/status").body(Vec::new()).context("cannot form a request")?;
    let mut status: Value = client.request(request).await.context("the instance does not say how it is")?;
    let services = services(&client).await?;
    let pods = pods(&client).await?;
    if let Some(status) = status.as_object_mut() {
        status.insert("services".to_owned(), services);
        status.insert("pods".to_owned(), pods);
    }
    Ok(status)
}

async fn services(client: &kube::Client) -> Result<Value> {
    let kind = GroupVersionKind::gvk("serving.knative.dev", "v1", "Service");
    let listed = list(client, &kind, "services").await?;
    let rows = listed.iter().map(|object| {
        let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        json!({
            "namespace": object.metadata.namespace,
            "name": object.metadata.name,
            "url": object.data.pointer("/status/url"),
            "ready": ready.map_or(Value::Null, |ready| ready["status"].clone()),
        })
    });
    Ok(rows.collect())
}

async fn pods(client: &kube::Client) -> Result<Value> {
    let listed = list(client, &GroupVersionKind::gvk("", "v1", "Pod"), "pods").await?;
    let rows = listed.iter().map(|object| {
        json!({
            "namespace": object.metadata.namespace,
            "name": object.metadata.name,
            "phase": object.data.pointer("/status/phase"),
        })
    });
    Ok(rows.collect())
}

/// Every object of a kind; none where the kind is not served (a lower floor alone).
async fn list(client: &kube::Client, kind: &GroupVersionKind, plural: &str) -> Result<Vec<DynamicObject>> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk_with_plural(kind, plural));
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {plural}")),
    }
}

fn for_people(status: &Value) -> String {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    // What does not run has no address.
    let url = |scheme: &str, pointer: &str| match status.pointer(pointer).and_then(Value::as_str) {
        Some(address) => format!("{scheme}://{address}"),
        None => "-".to_owned(),
    };
    let rows_of = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let mebibytes = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0) >> 20;
    let mut parts = vec![table::render(
        ["WHAT", "VALUE"],
        &[
            ["pid".to_owned(), text("/pid")],
            ["spawner pid".to_owned(), text("/spawnerPid")],
            ["api".to_owned(), url("https", "/addresses/api")],
            ["gateway".to_owned(), url("http", "/addresses/gateway")],
            ["registry".to_owned(), text("/addresses/registry")],
            [
                "memory".to_owned(),
                format!(
                    "{} MiB and {} MiB of the spawner",
                    mebibytes("/memory/kwickBytes"),
                    mebibytes("/memory/spawnerBytes")
                ),
            ],
            ["pods".to_owned(), rows_of("pods").len().to_string()],
        ],
    )];
    let services: Vec<_> = rows_of("services")
        .iter()
        .map(|row| ["namespace", "name", "ready", "url"].map(|key| row[key].as_str().unwrap_or("-").to_owned()))
        .collect();
    if !services.is_empty() {
        parts.push(table::render(["NAMESPACE", "SERVICE", "READY", "URL"], &services));
    }
    let notices: Vec<_> =
        rows_of("notices").iter().filter_map(Value::as_str).map(|text| format!("note: {text}")).collect();
    if !notices.is_empty() {
        parts.push(notices.join("\n"));
    }
    parts.join("\n\n")
}
