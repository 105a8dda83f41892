//! The cluster's network as programs see it: ClusterIPs from the host and from pods, names, Services of Knative by their private names.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api::text;
use crate::http::{Request, Target};
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc, PODS};
use crate::until::{until, until_true};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CORE_SERVICES: &str = "/api/v1/namespaces/default/services";
/// The port of every program here.
const PORT: u16 = 8080;

/// A Service of Kubernetes is reached by its address and its names.
pub(super) fn addresses_and_names(kwick: &Instance<'_>) -> Result<String> {
    let api = &kwick.api;
    let caller = Caller::start(kwick)?;
    let labels = json!({"app": "plain"});
    let container = json!({
        "name": "c", "image": "hello", "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "TARGET", "value": "plain"}], "ports": [{"containerPort": PORT}],
    });
    api.create(
        DEPLOYMENTS,
        &json!({"metadata": {"name": "plain"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }}),
    )?;
    let service = api.create(
        CORE_SERVICES,
        &json!({"metadata": {"name": "plain"}, "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]}}),
    )?;
    let ip = text(&service, "/spec/clusterIP");
    let address: SocketAddr = format!("{ip}:80").parse().context("the Service has no address")?;
    until("an answer of the ClusterIP to the host", ksvc::PATIENCE, || {
        let (status, body) = get(&target(address), "/")?;
        Ok((status == 200 && body.starts_with("Hello plain!")).then_some(()))
    })?;
    let names = ["plain", "plain.default", "plain.default.svc", "plain.default.svc.cluster.local"];
    for host in names.into_iter().chain([ip]) {
        caller.expect(&format!("{host}:80"), "200 Hello plain!")?;
    }
    let nobody = caller.call("nobody.default.svc.cluster.local:80")?;
    ensure(nobody.starts_with("cannot call"), || format!("a name of nobody answered {nobody:?}"))?;
    for path in [format!("{DEPLOYMENTS}/plain"), format!("{CORE_SERVICES}/plain")] {
        api.delete(&path)?;
    }
    caller.end()?;
    Ok(format!("{ip} from host and pod, {} names", names.len()))
}

/// A pod wakes a Service of Knative by its private name; one that is only for the cluster is not served outside.
pub(super) fn private_names(kwick: &Instance<'_>) -> Result<String> {
    let api = &kwick.api;
    let caller = Caller::start(kwick)?;
    let public = ksvc::host(&Ksvc::hello("private").env("TARGET", "private").deploy(api)?)?;
    ksvc::at_scale(api, "private", 0)?;
    let name = "private.default.svc.cluster.local";
    caller.expect(&format!("{name}:80"), "200 Hello private!")?;
    ensure(!ksvc::pods(api, "private")?.is_empty(), || "nobody answered".to_owned())?;
    ksvc::greet(&kwick.gateway, &public)?;
    let label = json!({"metadata": {"labels": {"networking.knative.dev/visibility": "cluster-local"}}});
    api.merge(&ksvc::path("private"), &label)?;
    until_true("the private URL", ksvc::PATIENCE, || Ok(ksvc::host(&ksvc::ready(api, "private")?)? == name))?;
    until_true("404 of the public host", ksvc::PATIENCE, || Ok(ksvc::ask(&kwick.gateway, &public, "/")?.0 == 404))?;
    let (outside, _) = ksvc::ask(&kwick.gateway, name, "/")?;
    ensure(outside == 404, || format!("the private host answers {outside} outside"))?;
    caller.expect(&format!("{name}:80"), "200 Hello private!")?;
    api.delete(&ksvc::path("private"))?;
    caller.end()?;
    Ok(format!("{name} from zero; cluster-local is 404 outside"))
}

/// A pod that calls others.
struct Caller<'a> {
    kwick: &'a Instance<'a>,
    target: Target,
}

impl<'a> Caller<'a> {
    fn start(kwick: &'a Instance<'a>) -> Result<Self> {
        kwick.pack("e2e-caller", "caller")?;
        kwick.api.create(
            PODS,
            &json!({"metadata": {"name": "caller"}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "c", "image": "caller", "imagePullPolicy": "IfNotPresent",
                    "readinessProbe": {"tcpSocket": {"port": PORT}},
                }],
            }}),
        )?;
        let pod: Value = until("the calling pod", ksvc::PATIENCE, || {
            let pod = kwick.api.get(&format!("{PODS}/caller"))?.context("it is not there")?;
            Ok((ksvc::condition(&pod, "Ready").0 == "True").then_some(pod))
        })?;
        let address = format!("{}:{PORT}", text(&pod, "/status/podIP"));
        Ok(Self { kwick, target: target(address.parse().context("the pod has no address")?) })
    }

    /// What `GET /` to `HOST:PORT` brings.
    fn call(&self, host: &str) -> Result<String> {
        get(&self.target, &format!("/{host}/")).map(|(_, body)| body)
    }

    fn expect(&self, host: &str, start: &str) -> Result<()> {
        until(&format!("{start:?} of {host} to a pod"), ksvc::PATIENCE, || {
            let answer = self.call(host)?;
            ensure(answer.starts_with(start), || format!("it is {answer:?}"))?;
            Ok(Some(()))
        })
    }

    fn end(self) -> Result<()> {
        let path = format!("{PODS}/caller");
        self.kwick.api.delete(&path)?;
        until_true("the end of the calling pod", ksvc::PATIENCE, || Ok(self.kwick.api.get(&path)?.is_none()))
    }
}

fn target(address: SocketAddr) -> Target {
    Target { patience: Duration::from_secs(60), ..Target::plain(address) }
}

fn get(target: &Target, path: &str) -> Result<(u16, String)> {
    let host = target.address.to_string();
    let headers = [("Host", host.as_str())];
    let (status, body) = target.ask(&Request { method: "GET", path, headers: &headers, body: b"" })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
