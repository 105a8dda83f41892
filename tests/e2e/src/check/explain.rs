//! `kwick explain`: what a person is told of a Service that is well, of mistakes, and of what they may not read.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::sessions;
use crate::api::text;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc, SERVICES};
use crate::kubectl;
use crate::place;
use crate::until::until;

const WELL: &str = "well";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
/// Refused before anything is changed.
const REFUSED: Option<i32> = Some(2);

/// Everything, then nothing is left.
pub(super) fn tells(kwick: &Instance<'_>) -> Result<String> {
    sessions::pack_shell(kwick)?;
    // Whatever is left of it, the shared instance has other checks.
    let outcome =
        well(kwick).and_then(|()| unroutable(kwick)).and_then(|()| mistakes(kwick)).and_then(|()| askers(kwick));
    for name in [WELL, "unfindable", "crashing"] {
        kwick.api.delete(&ksvc::path(name))?;
    }
    outcome.map(|()| "a healthy Service, an unknown host, a missing image, a crash, three askers".to_owned())
}

/// What scales it, where a request goes, and a command that works.
fn well(kwick: &Instance<'_>) -> Result<()> {
    let service =
        Ksvc::hello(WELL).scale("min-scale", "1").scale("max-scale", "3").scale("target", "10").deploy(&kwick.api)?;
    let url = text(&service, "/status/url");
    // What the autoscaler has decided is there with its first look.
    let told = until("its scale", ksvc::PATIENCE, || {
        let told = explain(kwick, &[&format!("ksvc/{WELL}")])?;
        Ok(told.contains("Pods wanted 1, there 1").then_some(told))
    })?;
    for part in [
        "ksvc/well in namespace default is ready".to_owned(),
        "revision/well-00001: 100 % of the traffic; 1 Pod, ready: 1".to_owned(),
        "class kpa.autoscaling.knative.dev by concurrency, 7 per Pod of the 10 that it can have".to_owned(),
        "least 1, most 3".to_owned(),
        "averages over 6 s".to_owned(),
        format!("Where a request for {url} goes"),
        "Ingress default/well".to_owned(),
        "100 %  revision/well-00001, by Service well-00001:80, through the activator (mode Proxy); ready: 1".to_owned(),
        format!("curl {url}"),
    ] {
        ensure(told.contains(&part), || format!("{part:?} is not in {told}"))?;
    }
    let json: Value = serde_json::from_str(&explain(kwick, &[WELL, "-o", "json"])?)?;
    ensure(json["next"][0]["command"] == format!("curl {url}"), || format!("next is {}", json["next"]))?;
    ensure(json["revisions"][0]["scaling"]["target"] == 7.0, || format!("{}", json["revisions"]))?;
    let facts: Value = serde_json::from_str(&explain(kwick, &["revision/well-00001", "--facts"])?)?;
    ensure(facts.pointer("/revision/observed").is_some(), || format!("no facts: {facts}"))
}

/// A host that nobody has, and a name that nobody has.
fn unroutable(kwick: &Instance<'_>) -> Result<()> {
    let told = explain(kwick, &[WELL, "--url", "http://nobody.example/"])?;
    ensure(told.contains("nowhere: no route has this host"), || told.clone())?;
    let private = explain(kwick, &[WELL, "--url", "http://well.default.svc.cluster.local/"])?;
    ensure(private.contains("Ingress default/well, from inside the cluster only"), || private.clone())?;
    refuses(&mut kwick.kwick(&["explain", "ksvc/wel"]), "did you mean `kwick explain ksvc/well`?")?;
    refuses(&mut kwick.kwick(&["explain", "deployment/well"]), "--facts")
}

/// An image that is nowhere; a program that ends, and whose last words are shown.
fn mistakes(kwick: &Instance<'_>) -> Result<()> {
    Ksvc::hello("unfindable").image("127.0.0.1:1/nowhere:none").create(&kwick.api)?;
    let mut crashing = Ksvc::hello("crashing").image("shell").object();
    crashing["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["-c", "echo out of luck; exit 3"]);
    kwick.api.create(SERVICES, &crashing)?;
    says(
        kwick,
        "unfindable",
        &["is not ready", "Unable to fetch image \"127.0.0.1:1/nowhere:none\"", "kwick image list"],
    )?;
    let expected =
        ["container user-container: ", "code 3", "  | out of luck\n", ": Event BackOff (", "revision/crashing-00001: "];
    says(kwick, "crashing", &expected)?;
    let told: Value = serde_json::from_str(&explain(kwick, &["crashing", "-o", "json"])?)?;
    let next = text(&told, "/next/0/command").to_owned();
    let mut words = next.split(' ');
    ensure(words.next() == Some("kubectl"), || format!("next is {next:?}"))?;
    kubectl::shows(kwick, &words.collect::<Vec<_>>(), &["out of luck"]).context("the command that it names")
}

/// Who may read everything in the namespace is told it; who may not read all is told what is missing; who may not read it is told so.
/// None of them sees the controllers' own facts.
fn askers(kwick: &Instance<'_>) -> Result<()> {
    kubectl::apply(
        kwick,
        &json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "glimpse", "namespace": "default"},
            "rules": [{"apiGroups": ["serving.knative.dev"], "resources": ["services"], "verbs": ["get"]}],
        }),
    )?;
    let viewer = asker(kwick, "viewer", Some(("ClusterRole", "view")))?;
    let told = place::output(&mut as_asker(kwick, &viewer, &["explain", WELL]))?;
    ensure(told.contains("Ingress default/well") && !told.contains("Not told"), || told.clone())?;

    let glimpser = asker(kwick, "glimpser", Some(("Role", "glimpse")))?;
    let told = place::output(&mut as_asker(kwick, &glimpser, &["explain", WELL]))?;
    for part in [
        "ksvc/well in namespace default is ready",
        "to a route that you may not read",
        "Not told",
        "cannot list resource \"revisions\"",
    ] {
        ensure(told.contains(part), || format!("{part:?} is not in {told}"))?;
    }
    ensure(!told.contains("kpa.autoscaling"), || format!("it tells what scales it: {told}"))?;

    let stranger = asker(kwick, "stranger", None)?;
    refuses(&mut as_asker(kwick, &stranger, &["explain", WELL]), "cannot get resource \"services\"")?;
    for asker in [&viewer, &glimpser, &stranger] {
        refuses(&mut as_asker(kwick, asker, &["explain", WELL, "--facts"]), "cannot get path \"/kwick/facts\"")?;
    }
    Ok(())
}

/// A kubeconfig of a ServiceAccount with a role.
fn asker(kwick: &Instance<'_>, name: &str, role: Option<(&str, &str)>) -> Result<PathBuf> {
    kwick.api.create(ACCOUNTS, &json!({"metadata": {"name": name}}))?;
    if let Some((kind, role)) = role {
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": "default"});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
        kwick.api.create(BINDINGS, &json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}))?;
    }
    let token = kubectl::run(kwick, &["create", "token", name])?;
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(kwick.folder().join("kubeconfig"))?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = kwick.folder().with_extension(name);
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

fn as_asker(kwick: &Instance<'_>, kubeconfig: &std::path::Path, args: &[&str]) -> std::process::Command {
    let mut command = kwick.kwick(args);
    command.arg("--kubeconfig").arg(kubeconfig);
    command
}

fn explain(kwick: &Instance<'_>, args: &[&str]) -> Result<String> {
    place::output(&mut kwick.kwick(&[&["explain"], args].concat()))
}

/// Waits until all of this is told of a Service.
fn says(kwick: &Instance<'_>, name: &str, expected: &[&str]) -> Result<()> {
    until(&format!("the explanation of {name}"), ksvc::PATIENCE, || {
        let told = explain(kwick, &[name])?;
        match expected.iter().find(|part| !told.contains(**part)) {
            Some(missing) => anyhow::bail!("{missing:?} is not in {told}"),
            None => Ok(Some(())),
        }
    })
}

fn refuses(command: &mut std::process::Command, expected: &str) -> Result<()> {
    let outcome = place::outcome(command)?;
    let said = place::text(&outcome);
    ensure(outcome.status.code() == REFUSED && said.contains(expected), || format!("{}: {said}", outcome.status))
}
