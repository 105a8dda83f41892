//! Helm, unmodified, in both versions that are in use: a release of the small chart in data/chart from its installation to its end.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{LeftOut, sessions, twice};
use crate::instance::{Instance, ensure};
use crate::kubectl;
use crate::place::{self, Place};

const CHART: &str = "tests/e2e/data/chart";
/// What a release of the chart consists of.
const KINDS: &str = "deployments,replicasets,pods,services,secrets,configmaps,shelves,jobs";

/// One of the two Helms, and in what it differs from the other.
struct Helm {
    program: &'static str,
    /// Undoes an upgrade that fails.
    undo: &'static str,
    /// The operation by which it owns what it wrote: Helm 4 has the server apply it.
    operation: &'static str,
}

/// Helm 3.
pub(super) fn three(place: &Place) -> Result<String> {
    twice(|| life(place, &Helm { program: "helm3", undo: "--atomic", operation: "Update" }))
}

/// Helm 4.
pub(super) fn four(place: &Place) -> Result<String> {
    twice(|| life(place, &Helm { program: "helm4", undo: "--rollback-on-failure", operation: "Apply" }))
}

/// The whole life of a release.
fn life(place: &Place, helm: &Helm) -> Result<String> {
    let kwick = Instance::start_with(place, helm.program, &["--only", "cluster"])?;
    if kwick.client(helm.program).is_none() {
        return Err(LeftOut("Helm was not built").into());
    }
    sessions::pack_shell(&kwick)?;
    let shop = Shop { kwick: &kwick, helm };
    shop.install()?;
    shop.upgrade()?;
    shop.failing_upgrades()?;
    shop.roll_back()?;
    shop.uninstall()?;
    kwick.down()?;
    Ok("installed, upgraded, tested, two failing upgrades undone, rolled back, uninstalled".to_owned())
}

/// The release.
struct Shop<'a> {
    kwick: &'a Instance<'a>,
    helm: &'a Helm,
}

impl Shop<'_> {
    fn install(&self) -> Result<()> {
        self.deploy("install", "60s", &[])?;
        self.shows(&["list"], &["shop", "deployed", "shop-1.0.0"])?;
        self.shows(&["status", "shop"], &["STATUS: deployed", "REVISION: 1", "The shop says first on Kubernetes 1"])?;
        self.shows(&["get", "values", "shop", "--all"], &["message: first"])?;
        self.shows(&["get", "manifest", "shop"], &["kind: Shelf", "kind: Deployment"])?;
        self.shows(&["get", "hooks", "shop"], &["helm.sh/hook: pre-install", "helm.sh/hook: test"])?;
        let managers = self.object("deployment")?["metadata"]["managedFields"].take();
        let of_helm = managers.as_array().into_iter().flatten().find(|entry| entry["manager"] == "helm");
        let operation = of_helm.map(|entry| &entry["operation"]);
        ensure(operation.is_some_and(|found| found == self.helm.operation), || format!("it is owned by {operation:?}"))
    }

    /// The Secret's key, which the chart finds by a look-up, stays; so does a field that another owns.
    fn upgrade(&self) -> Result<()> {
        let key = self.object("secret")?["data"]["key"].take();
        kubectl::run(self.kwick, &["annotate", "deployment", "shop", "example.com/mine=yes"])?;
        self.deploy("upgrade", "60s", &["--set", "message=second,replicas=2"])?;
        self.stands_at("second", 2)?;
        ensure(self.object("secret")?["data"]["key"] == key, || "the look-up did not find the Secret".to_owned())?;
        let mine = self.object("deployment")?["metadata"]["annotations"]["example.com/mine"].take();
        ensure(mine == "yes", || "another's annotation is gone".to_owned())?;
        self.shows(&["test", "shop"], &["shop-test", "Succeeded"])
    }

    /// One fails by its hook, one because its Pods do not come up.
    fn failing_upgrades(&self) -> Result<()> {
        for (limit, values) in [("60s", "message=third,check=false"), ("5s", "message=third,replicas=2,image=missing")]
        {
            let outcome =
                place::outcome(&mut self.deployment("upgrade", limit, &["--set", values, self.helm.undo])?)?;
            let said = place::text(&outcome);
            let is_undone = !outcome.status.success() && said.contains("has been rolled back");
            ensure(is_undone, || format!("an upgrade with {values}: {said}"))?;
            self.stands_at("second", 2)?;
        }
        self.shows(&["history", "shop"], &["failed", "Rollback to 2", "Rollback to 4"])
    }

    fn roll_back(&self) -> Result<()> {
        self.shows(&["rollback", "shop", "1", "--wait", "--timeout", "60s"], &["Rollback was a success"])?;
        self.stands_at("first", 1)
    }

    /// Nothing stays but what is in crds/, as Helm promises.
    fn uninstall(&self) -> Result<()> {
        self.shows(&["uninstall", "shop", "--wait", "--timeout", "60s"], &["release \"shop\" uninstalled"])?;
        for selector in ["app=shop", "owner=helm"] {
            let left = kubectl::run(self.kwick, &["get", KINDS, "-l", selector, "-o", "name"])?;
            ensure(left.is_empty(), || format!("it left {left}"))?;
        }
        kubectl::run(self.kwick, &["get", "crd", "shelves.shop.example.com"]).map(drop)
    }

    /// What the Deployment has of the values, with as many Pods available.
    fn stands_at(&self, message: &str, replicas: u64) -> Result<()> {
        let now = self.object("deployment")?;
        let found = &now["spec"]["template"]["metadata"]["annotations"]["message"];
        let is_so = found == message && now["status"]["availableReplicas"] == replicas;
        ensure(is_so, || format!("it is not at {message} with {replicas}: {now}"))
    }

    fn object(&self, kind: &str) -> Result<Value> {
        Ok(serde_json::from_str(&kubectl::run(
            self.kwick,
            &["get", kind, "shop", "-o", "json", "--show-managed-fields"],
        )?)?)
    }

    /// A command that waits until what it writes is ready.
    fn deployment(&self, verb: &str, limit: &str, options: &[&str]) -> Result<std::process::Command> {
        let mut command = self.kwick.client(self.helm.program).context("there is no Helm")?;
        command.args([verb, "shop"]).arg(self.kwick.workspace(CHART));
        command.args(["--wait", "--timeout", limit]).args(options);
        Ok(command)
    }

    fn deploy(&self, verb: &str, limit: &str, options: &[&str]) -> Result<()> {
        place::output(&mut self.deployment(verb, limit, options)?).map(drop)
    }

    fn shows(&self, args: &[&str], expected: &[&str]) -> Result<()> {
        place::shows(self.kwick.client(self.helm.program).context("there is no Helm")?.args(args), expected)
    }
}
