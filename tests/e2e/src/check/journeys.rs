//! The life of a Knative Service by each client that people use: made, asked, changed, its traffic split between two Revisions, rolled back
//! to the first, deleted.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LeftOut, twice};
use crate::api::text;
use crate::instance::{Instance, ensure};
use crate::ksvc;
use crate::place;
use crate::until::until_true;

const CHART: &str = "tests/e2e/data/journey";
/// The image of the sample.
const IMAGE: &str = "hello";
/// Requests after which each half of a split has answered.
const ENOUGH: usize = 40;

/// tools/client-go.
pub(super) fn client_go(kwick: &Instance<'_>) -> Result<String> {
    by_program(kwick, "client-go-serving", || kwick.client("client-go").ok_or(LeftOut("tools/client-go was not built")))
}

/// tools/kube-rs.
pub(super) fn kube_rs(kwick: &Instance<'_>) -> Result<String> {
    by_program(kwick, "kube-rs-serving", || kwick.client("kube-rs").ok_or(LeftOut("tools/kube-rs was not built")))
}

/// tools/python, by the Python that has the client library.
pub(super) fn python(kwick: &Instance<'_>) -> Result<String> {
    by_program(kwick, "python-serving", || {
        let mut python = kwick.client("python/bin/python").ok_or(LeftOut("there is no Python client library"))?;
        python.arg(kwick.workspace("tools/python/serving.py"));
        Ok(python)
    })
}

/// Helm 3.
pub(super) fn helm_three(kwick: &Instance<'_>) -> Result<String> {
    by_helm(kwick, "helm3")
}

/// Helm 4.
pub(super) fn helm_four(kwick: &Instance<'_>) -> Result<String> {
    by_helm(kwick, "helm4")
}

/// Runs a program that makes a namespace for itself.
fn by_program(kwick: &Instance<'_>, namespace: &str, program: impl Fn() -> Result<Command, LeftOut>) -> Result<String> {
    twice(|| {
        let mut program = program()?;
        let outcome = place::output(program.arg(IMAGE).arg(kwick.gateway.address.to_string()));
        // What a failed one has left does not meet the next.
        let path = format!("/api/v1/namespaces/{namespace}");
        kwick.api.delete(&path)?;
        until_true("the end of its namespace", ksvc::PATIENCE, || Ok(kwick.api.get(&path)?.is_none()))?;
        Ok(outcome?.trim().replace('\n', "; "))
    })
}

/// A release whose values are what answers and how the traffic is split.
fn by_helm(kwick: &Instance<'_>, program: &'static str) -> Result<String> {
    twice(|| {
        let release = Release { kwick, program, name: format!("by-{program}") };
        let outcome = release.life();
        kwick.api.delete(&ksvc::path(&release.name))?;
        outcome.map(|()| "installed, upgraded, split, rolled back, uninstalled".to_owned())
    })
}

struct Release<'a> {
    kwick: &'a Instance<'a>,
    program: &'static str,
    name: String,
}

impl Release<'_> {
    fn life(&self) -> Result<()> {
        let chart = self.kwick.workspace(CHART).display().to_string();
        self.helm(&["install", &self.name, &chart])?;
        self.answers(&["Hello one"])?;
        self.helm(&["upgrade", &self.name, &chart, "--set", "target=two"])?;
        self.answers(&["Hello two"])?;
        let half = |revision: &str, tag: &str| json!({"revisionName": format!("{}-{revision}", self.name), "tag": tag, "percent": 50});
        let traffic = format!("traffic={}", json!([half("00001", "one"), half("00002", "two")]));
        self.helm(&["upgrade", &self.name, &chart, "--set", "target=two", "--set-json", &traffic])?;
        let service = self.answers(&["Hello one", "Hello two"])?;
        for target in service["status"]["traffic"].as_array().context("no traffic")? {
            let said = self.ask(&host(text(target, "/url")))?;
            ensure(said == format!("Hello {}", text(target, "/tag")), || format!("{target} answers {said}"))?;
        }
        // The first release's template is the next Revision's.
        self.helm(&["rollback", &self.name, "1"])?;
        self.answers(&["Hello one"])?;
        self.helm(&["uninstall", &self.name, "--wait", "--timeout", "60s"])?;
        ensure(self.kwick.api.get(&ksvc::path(&self.name))?.is_none(), || "the Service is still there".to_owned())
    }

    fn helm(&self, args: &[&str]) -> Result<()> {
        let mut helm = self.kwick.client(self.program).ok_or(LeftOut("Helm was not built"))?;
        place::output(helm.args(args)).map(drop)
    }

    /// Asks the ready Service until each of these has answered; nobody else does. The Service.
    fn answers(&self, expected: &[&str]) -> Result<Value> {
        let service = ksvc::ready(&self.kwick.api, &self.name)?;
        let host = ksvc::host(&service)?;
        let seen = (0..ENOUGH).map(|_| self.ask(&host)).collect::<Result<BTreeSet<_>>>()?;
        ensure(seen.iter().eq(expected), || format!("it answers {seen:?}, not {expected:?}"))?;
        Ok(service)
    }

    fn ask(&self, host: &str) -> Result<String> {
        let said = ksvc::greet(&self.kwick.gateway, host)?;
        Ok(said.split('!').next().unwrap_or_default().to_owned())
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").split([':', '/']).next().unwrap_or_default().to_owned()
}
