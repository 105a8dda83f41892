//! What Knative's tests expect to find: their images, their objects, settings, and the gateway's address.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::suites::Setting;
use crate::api::text;
use crate::instance::{Instance, free_addresses};
use crate::kubectl;
use crate::place::{self, Place};
use crate::until::until_true;

const SYSTEM_NAMESPACE: &str = "knative-serving";
const CONFIG_MAPS: &str = "/api/v1/namespaces/knative-serving/configmaps";
const ACTIVATOR: &str = "/apis/apps/v1/namespaces/knative-serving/deployments/activator";
const INGRESS_CLASS: &str = "kwick.ingress.networking.knative.dev";
/// The gateway's Service.
const GATEWAY: (&str, &str) = ("kwick-system", "gateway");
/// Where the tests look for the authority that signs certificates, and take it away from.
const AUTHORITY_NAMESPACE: &str = "cert-manager";
const AUTHORITY_OPTION: &[&str] = &["--ca-secret", "cert-manager/knative-selfsigned-ca"];
/// How long the activator's Pods may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stands before the images' names.
const REPOSITORY: &str = "serving";
/// What all suites are written for (`test/config` of their module).
const SETTINGS: &[(&str, &str, Option<&str>)] = &[
    ("config-deployment", "progress-deadline", Some("120s")),
    ("config-domain", "example.com", Some("")),
    ("config-domain", "localhost", None),
    ("config-network", "autocreate-cluster-domain-claims", Some("true")),
    ("config-observability", "logging.enable-request-log", Some("true")),
    ("config-observability", "logging.enable-probe-request-log", Some("true")),
    ("config-observability", "logging.request-log-template", Some(REQUEST_LOG)),
];
/// As the tests compare it.
const REQUEST_LOG: &str = r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "protocol": "{{.Request.Proto}}"}, "traceId": "{{index .Request.Header "X-B3-Traceid"}}"}"#;

/// An instance that the tests can run against.
pub(super) struct Cluster<'a> {
    kwick: Instance<'a>,
    repository: String,
}

/// Settings, by ConfigMap and key; null removes one.
pub(super) type Settings = BTreeMap<&'static str, Map<String, Value>>;

impl<'a> Cluster<'a> {
    /// Starts one and lays everything out.
    pub(super) fn start(place: &'a Place, suites: &Path) -> Result<Self> {
        let [_, api, registry] = free_addresses()?;
        let kwick = Instance::start_at(place, "serving", [free_port_80()?, api, registry], AUTHORITY_OPTION)?;
        let images = suites.join("images.tar").display().to_string();
        place::output(&mut kwick.kwick(&["image", "import", &images])).context("cannot import the images")?;
        kubectl::run(&kwick, &["apply", "-f", &suites.join("config").display().to_string()])?;
        kubectl::run(&kwick, &["create", "namespace", AUTHORITY_NAMESPACE])?;
        let cluster = Self { kwick, repository: format!("{registry}/{REPOSITORY}") };
        let mut settings = Settings::new();
        for (map, key, value) in SETTINGS {
            settings.entry(map).or_default().insert((*key).to_owned(), json!(value));
        }
        cluster.put(&settings)?;
        cluster.balance()?;
        Ok(cluster)
    }

    /// The tests look for the one address of a load balancer, and so do Pods of theirs: the Service's own is reached by both.
    fn balance(&self) -> Result<()> {
        let (namespace, name) = GATEWAY;
        let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
        let service = self.kwick.api.merge(&path, &json!({"spec": {"type": "LoadBalancer"}}))?;
        let ingress = json!([{"ip": text(&service, "/spec/clusterIP")}]);
        let status = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        self.kwick.api.merge(&format!("{path}/status"), &status).map(drop)
    }

    /// Gives settings; what they were before.
    pub(super) fn set(&self, settings: &[Setting]) -> Result<Settings> {
        let (mut before, mut after) = (Settings::new(), Settings::new());
        for (map, key, value) in settings {
            let object = self.kwick.api.get(&format!("{CONFIG_MAPS}/{map}"))?.with_context(|| format!("no {map}"))?;
            let old = object.pointer("/data").and_then(|data| data.get(key)).cloned();
            before.entry(map).or_default().insert((*key).to_owned(), old.unwrap_or(Value::Null));
            after.entry(map).or_default().insert((*key).to_owned(), json!(value));
        }
        self.put(&after).map(|()| before)
    }

    /// Writes settings, those of one ConfigMap at once: they may be right only together.
    pub(super) fn put(&self, settings: &Settings) -> Result<()> {
        settings.iter().try_for_each(|(map, data)| {
            self.kwick.api.merge(&format!("{CONFIG_MAPS}/{map}"), &json!({ "data": data })).map(drop)
        })
    }

    /// Gives the activator so many Pods, and waits until all are ready.
    pub(super) fn scale_activator(&self, replicas: u32) -> Result<()> {
        self.kwick.api.merge(ACTIVATOR, &json!({"spec": {"replicas": replicas}}))?;
        until_true("the activator's Pods", PATIENCE, || {
            let deployment = self.kwick.api.get(ACTIVATOR)?.context("there is no activator")?;
            let of = |field: &str| deployment.pointer(&format!("/status/{field}")).and_then(Value::as_u64);
            Ok([of("replicas"), of("readyReplicas")].iter().all(|count| *count == Some(replicas.into())))
        })
    }

    /// Keeps what the instance logged.
    pub(super) fn keep_log(&self, folder: &Path) -> Result<()> {
        std::fs::copy(self.kwick.folder().join("kwick.log"), folder.join("kwick.log"))
            .context("cannot keep the log")?;
        Ok(())
    }

    /// Tells a test binary where everything is.
    pub(super) fn equip(&self, command: &mut Command) {
        let (namespace, name) = GATEWAY;
        let kubeconfig = self.kwick.folder().join("kubeconfig");
        command.arg("--kubeconfig").arg(&kubeconfig).arg(format!("--dockerrepo={}", self.repository));
        command.args(["--tag=latest", "--enable-alpha", "--enable-beta", "--disable-logstream"]);
        command.arg(format!("--ingress-class={INGRESS_CLASS}"));
        command
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", self.kwick.folder())
            .env("SYSTEM_NAMESPACE", SYSTEM_NAMESPACE);
        command.env("GATEWAY_OVERRIDE", name).env("GATEWAY_NAMESPACE_OVERRIDE", namespace);
    }

    /// Takes it down.
    pub(super) fn down(self) -> Result<()> {
        self.kwick.down()
    }
}

/// An address whose port is that of HTTP, so that URLs name none, as the tests expect them.
fn free_port_80() -> Result<SocketAddr> {
    let addresses = (2..=254).map(|last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 80)));
    match addresses.into_iter().find(|address| TcpListener::bind(address).is_ok()) {
        Some(address) => Ok(address),
        None => bail!("port 80 is taken on every address of this machine"),
    }
}
