//! `kwick explain`: asks the running instance why a Service is as it is.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base_net::query;
use clap::Args;
use knative_apis::serving::v1::Service;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use kwick::assembly::install::{EXPLAIN_PATH, FACTS_PATH};
use serde_json::Value;

use super::{Instance, Output, block_on, connect, require_running, say};
use crate::exit::{Ended, FAILED, Refused};
use crate::explain::{Answer, text};

/// What people call a Service of Knative's.
const SERVICE: [&str; 7] = [
    "ksvc",
    "kservice",
    "kservices",
    "service",
    "services",
    "service.serving.knative.dev",
    "services.serving.knative.dev",
];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kwick explain ksvc/hello
  kwick explain ksvc/hello -n team -o json | jq .next
  kwick explain ksvc/hello --url http://blue-hello.default.localhost/
  kwick explain revision/hello-00001 --facts      what controllers gathered, plan and did last (for administrators)")]
pub(super) struct Explain {
    #[command(flatten)]
    instance: Instance,
    /// What to explain: ksvc/NAME, or NAME alone.
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// Its namespace [default: that of the kubeconfig].
    #[arg(short, long)]
    namespace: Option<String>,
    /// Say where a request for this URL would go [default: the Service's own URL].
    #[arg(long, conflicts_with = "facts")]
    url: Option<String>,
    /// Show what the object's controllers know, as JSON: any kind that they keep.
    #[arg(long)]
    facts: bool,
    /// Ask as the user of this kubeconfig [default: the instance's own].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Explain {
    pub(super) fn run(&self) -> Result<()> {
        let (kind, name) = self.object.split_once('/').unwrap_or(("ksvc", &self.object));
        let is_service = SERVICE.iter().any(|known| known.eq_ignore_ascii_case(kind));
        if !is_service && !self.facts {
            return Err(Refused::error(
                format!("it explains Services of Knative's, not {kind}"),
                format!(
                    "`kwick explain ksvc/NAME`, or see what controllers know: `kwick explain {kind}/{name} --facts`"
                ),
            ));
        }
        let file = match &self.kubeconfig {
            Some(file) => file.clone(),
            None => {
                let dir = self.instance.dir()?;
                require_running(&dir, |record| record.api)?;
                dir.join("kubeconfig")
            }
        };
        let kind = if is_service { "Service.serving.knative.dev" } else { kind };
        let told = block_on(self.ask(&file, kind, name))??;
        say(match self.output {
            None if !self.facts => {
                let answer: Answer = serde_json::from_value(told).context("the instance answers in another form")?;
                text(&answer)
            }
            _ => serde_json::to_string_pretty(&told).context("cannot form JSON")?,
        })
    }

    async fn ask(&self, file: &std::path::Path, kind: &str, name: &str) -> Result<Value> {
        let client = connect(file).await?;
        let namespace = self.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        let object = [("namespace", namespace.as_str()), ("name", name)];
        let uri = match &self.url {
            _ if self.facts => format!("{FACTS_PATH}?{}&{}", query::of(&object), query::of(&[("kind", kind)])),
            Some(url) => format!("{EXPLAIN_PATH}?{}&{}", query::of(&object), query::of(&[("url", url)])),
            None => format!("{EXPLAIN_PATH}?{}", query::of(&object)),
        };
        let request = http::Request::get(uri).body(Vec::new()).context("cannot form a request")?;
        match client.request(request).await {
            Ok(told) => Ok(told),
            Err(kube::Error::Api(status)) if status.code == 404 && !self.facts => {
                Err(not_found(&client, &namespace, name).await)
            }
            Err(kube::Error::Api(status)) if status.code == 403 => Err(Refused::error(
                status.message.clone(),
                format!(
                    "ask as somebody who may (--kubeconfig FILE), or find out: `kubectl auth can-i get ksvc/{name} -n {namespace}`"
                ),
            )),
            Err(kube::Error::Api(status)) => Err(Ended { code: FAILED, message: status.message.clone() }.into()),
            Err(error) => Err(error).context("the instance does not answer"),
        }
    }
}

/// There is no such Service; perhaps another one is meant.
async fn not_found(client: &Client, namespace: &str, name: &str) -> anyhow::Error {
    // Whoever may not list has no suggestions.
    let everywhere = Api::<Service>::all(client.clone()).list(&ListParams::default()).await;
    let listed = match everywhere {
        Ok(list) => Ok(list),
        Err(_) => Api::<Service>::namespaced(client.clone(), namespace).list(&ListParams::default()).await,
    };
    let services = listed.map(|list| list.items).unwrap_or_default();
    let names = services.iter().map(|service| (service.namespace().unwrap_or_default(), service.name_any()));
    let option = |namespace: &str| if namespace == "default" { String::new() } else { format!(" -n {namespace}") };
    let fix = match nearest((namespace, name), names.collect()) {
        Some((namespace, name)) => format!("did you mean `kwick explain ksvc/{name}{}`?", option(&namespace)),
        None => format!("`kubectl get ksvc{}` shows those that there are", option(namespace)),
    };
    Refused::error(format!("there is no ksvc/{name} in namespace {namespace}"), fix)
}

/// The one that was meant, if it can be told: of the same name elsewhere, or of almost this name here.
fn nearest((namespace, name): (&str, &str), mut names: Vec<(String, String)>) -> Option<(String, String)> {
    // Of a short name little may be misspelled.
    let typos = (name.chars().count() / 3).clamp(1, 3);
    let distance = |(other_namespace, other): &(String, String)| {
        strsim::osa_distance(name, other) + usize::from(namespace != other_namespace)
    };
    names.sort_by_cached_key(|other| (distance(other), other.clone()));
    names.into_iter().find(|other| distance(other) <= typos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_is_met_with_what_is_there() {
        let names = || {
            [("default", "hello"), ("team", "hello"), ("team", "greeter")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        };
        for (namespace, name, expected) in [
            ("default", "helo", Some("default/hello")),
            ("team", "helo", Some("team/hello")),
            ("default", "greeter", Some("team/greeter")),
            ("default", "world", None),
            ("default", "x", None),
        ] {
            let found = nearest((namespace, name), names().into()).map(|(a, b)| format!("{a}/{b}"));
            assert_eq!(found.as_deref(), expected, "{namespace}/{name}");
        }
    }
}
