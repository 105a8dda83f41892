//! Knative Services in the default namespace: making, waiting, asking, counting pods.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::api::{Api, text};
use crate::http::{Request, Target};
use crate::until::until;

/// Where Services are.
pub(crate) const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/default/services";
/// Where pods are.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
/// How long a service may take to be what it should be. Generous: what is measured, the benchmark measures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a Service is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Ksvc {
    /// Its name.
    pub(crate) name: String,
    /// Its image.
    pub(crate) image: String,
    /// Environment variables.
    pub(crate) env: BTreeMap<String, String>,
    /// Annotations of the template, by their last part: `autoscaling.knative.dev/…`.
    pub(crate) autoscaling: BTreeMap<String, String>,
}

impl Ksvc {
    /// A Service of the sample image that scales down as soon as Knative allows.
    pub(crate) fn hello(name: &str) -> Self {
        let autoscaling = [("window", "6s"), ("scale-to-zero-pod-retention-period", "0s")];
        Self {
            name: name.to_owned(),
            image: "hello".to_owned(),
            env: BTreeMap::new(),
            autoscaling: autoscaling.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With an annotation `autoscaling.knative.dev/NAME`.
    pub(crate) fn scale(mut self, name: &str, value: &str) -> Self {
        self.autoscaling.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Of another image.
    pub(crate) fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// The object.
    pub(crate) fn object(&self) -> Value {
        json!({
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": "default"},
            "spec": self.spec(),
        })
    }

    /// The object's spec.
    pub(crate) fn spec(&self) -> Value {
        let annotations: BTreeMap<String, &String> =
            self.autoscaling.iter().map(|(key, value)| (format!("autoscaling.knative.dev/{key}"), value)).collect();
        let env: Vec<Value> = self.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"template": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"image": self.image, "env": env}]},
        }})
    }

    /// Makes the Service.
    pub(crate) fn create(&self, api: &Api) -> Result<Value> {
        api.create(SERVICES, &self.object())
    }

    /// Makes the Service and waits until it is ready; the ready object.
    pub(crate) fn deploy(&self, api: &Api) -> Result<Value> {
        self.create(api)?;
        ready(api, &self.name)
    }
}

/// The path of a Service.
pub(crate) fn path(name: &str) -> String {
    format!("{SERVICES}/{name}")
}

/// A condition of an object: its status, reason and message.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.and_then(|list| list.iter().find(|condition| text(condition, "/type") == kind));
    found.map_or(("", "", ""), |found| (text(found, "/status"), text(found, "/reason"), text(found, "/message")))
}

/// Whether the object's Ready condition speaks of its newest generation, and says this.
pub(crate) fn is_ready(object: &Value, status: &str) -> bool {
    let generation = |pointer| object.pointer(pointer).and_then(Value::as_i64);
    generation("/status/observedGeneration") == generation("/metadata/generation")
        && condition(object, "Ready").0 == status
}

/// Waits until the Service is ready in its newest generation; the object.
pub(crate) fn ready(api: &Api, name: &str) -> Result<Value> {
    let object = until(&format!("Ready of Service {name}"), PATIENCE, || {
        let object = api.get(&path(name))?.context("it is not there")?;
        if is_ready(&object, "True") {
            return Ok(Some(object));
        }
        let (status, reason, message) = condition(&object, "Ready");
        bail!("Ready is {status:?}, {reason}: {message}")
    })?;
    Ok(object)
}

/// The pods of a Service that are not on their way out.
pub(crate) fn pods(api: &Api, name: &str) -> Result<Vec<Value>> {
    let all = api.list(&format!("{PODS}?labelSelector=serving.knative.dev%2Fservice%3D{name}"))?;
    Ok(all.into_iter().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none()).collect())
}

/// How many pods of a Service are ready.
pub(crate) fn ready_pods(api: &Api, name: &str) -> Result<usize> {
    Ok(pods(api, name)?.iter().filter(|pod| condition(pod, "Ready").0 == "True").count())
}

/// Waits until the Service has exactly this many pods, and no others end.
pub(crate) fn at_scale(api: &Api, name: &str, count: usize) -> Result<()> {
    until(&format!("{count} pods of {name}"), PATIENCE, || {
        let all = api.list(&format!("{PODS}?labelSelector=serving.knative.dev%2Fservice%3D{name}"))?;
        if all.len() == count { Ok(Some(())) } else { bail!("it has {}", all.len()) }
    })
}

/// The host of a Service's URL.
pub(crate) fn host(object: &Value) -> Result<String> {
    let url = text(object, "/status/url");
    let rest = url.strip_prefix("http://").with_context(|| format!("the URL {url:?} is not http://"))?;
    Ok(rest.split(['/', ':']).next().unwrap_or_default().to_owned())
}

/// Asks a Service through the gateway; status and text.
pub(crate) fn ask(gateway: &Target, host: &str, path: &str) -> Result<(u16, String)> {
    let headers = [("Host", host), ("User-Agent", "kwick-e2e")];
    let (status, body) = gateway.ask(&Request { method: "GET", path, headers: &headers, body: b"" })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Asks for `/`; the text of a 200.
pub(crate) fn greet(gateway: &Target, host: &str) -> Result<String> {
    match ask(gateway, host, "/")? {
        (200, body) => Ok(body),
        (status, body) => bail!("{host} answered {status}: {}", body.trim()),
    }
}
