//! What a user types with an unmodified kubectl.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::LeftOut;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::place;
use crate::until::until_true;

/// The commands of the issue's list, each with what its output must contain.
const READS: &[(&[&str], &[&str])] = &[
    (&["version"], &["Server Version: v1."]),
    (
        &["get", "ksvc,cfg,rev,rt"],
        &["service.serving.knative.dev/typed", "revision.serving.knative.dev/typed-00001", "route.serving"],
    ),
    (&["get", "ksvc"], &["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "typed-00001"]),
    (&["get", "rev", "typed-00001", "--no-headers"], &["typed-00001   typed ", " 1 "]),
    (&["get", "pods", "-o", "wide"], &["NAME", "READY", "STATUS", "2/2", "Running", "NODE"]),
    (&["get", "ksvc", "typed", "-o", "jsonpath={.status.url}"], &["http://typed.default."]),
    (&["get", "ksvc", "typed", "-o", "yaml"], &["kind: Service", "latestReadyRevisionName: typed-00001"]),
    (&["describe", "ksvc", "typed"], &["Name:", "typed", "Ready"]),
    (&["get", "deployments,replicasets,endpoints,services"], &["deployment.apps/typed-00001-deployment"]),
    (&["api-resources", "--api-group=serving.knative.dev"], &["ksvc", "cfg", "rev", "rt"]),
    (&["explain", "ksvc.spec.template"], &["KIND:", "Service"]),
    (&["auth", "can-i", "create", "ksvc"], &["yes"]),
];

/// Who types, and into which kubectl.
struct User<'a> {
    kwick: &'a Instance<'a>,
    has_old: bool,
}

impl User<'_> {
    fn kubectl(&self, args: &[&str]) -> Option<Command> {
        if !self.has_old {
            return self.kwick.kubectl(args);
        }
        let mut old = self.kwick.client("kubectl-old")?;
        old.args(args);
        Some(old)
    }
}

/// The kubectl of the version whose API this is.
pub(super) fn script(kwick: &Instance<'_>) -> Result<String> {
    typed(&User { kwick, has_old: false })
}

/// A kubectl that is two versions older.
pub(super) fn old_script(kwick: &Instance<'_>) -> Result<String> {
    typed(&User { kwick, has_old: true })
}

/// Applies, reads, follows the log, scales by annotation, patches, deletes.
fn typed(user: &User<'_>) -> Result<String> {
    if user.kubectl(&[]).is_none() {
        return Err(LeftOut("there is no kubectl").into());
    }
    let file = user.kwick.folder().with_extension("typed.json");
    std::fs::write(&file, Ksvc::hello("typed").scale("min-scale", "1").object().to_string())?;
    let path = file.display().to_string();
    contains(user, &["apply", "-f", &path], &["service.serving.knative.dev/typed created"])?;
    contains(user, &["wait", "ksvc/typed", "--for=condition=Ready", "--timeout=60s"], &["condition met"])?;
    for (args, expected) in READS {
        contains(user, args, expected)?;
    }
    // kubectl cannot merge a custom object's lists, so it sends what Knative's defaults completed; that changes nothing.
    contains(user, &["apply", "-f", &path], &["service.serving.knative.dev/typed"])?;
    contains(user, &["get", "ksvc", "typed", "-o", "jsonpath=generation {.metadata.generation}"], &["generation 1"])?;
    follow(user)?;
    contains(user, &["annotate", "ksvc", "typed", "example.com/seen=yes"], &["annotated"])?;
    contains(user, &["label", "ksvc", "typed", "seen=yes"], &["labeled"])?;
    contains(user, &["get", "ksvc", "-l", "seen=yes", "-o", "name"], &["service.serving.knative.dev/typed"])?;
    contains(user, &["create", "configmap", "typed", "--from-literal=a=b"], &["configmap/typed created"])?;
    contains(user, &["patch", "configmap", "typed", "-p", r#"{"data":{"c":"d"}}"#], &["patched"])?;
    contains(user, &["delete", "configmap", "typed"], &["deleted"])?;
    server_side(user, &path)?;
    contains(user, &["delete", "ksvc", "typed"], &["deleted"])?;
    refused(user, &["get", "ksvc", "typed"], "NotFound")?;
    Ok(format!("{} commands", READS.len() + 22))
}

/// What was applied by the client is applied by the server from then on; what others own is a conflict until it is forced.
fn server_side(user: &User<'_>, service: &str) -> Result<()> {
    let file = user.kwick.folder().with_extension("map.json");
    let path = file.display().to_string();
    let write = |data: serde_json::Value| {
        let map =
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": data});
        std::fs::write(&file, map.to_string())
    };
    let data = &["get", "configmap", "map", "-o", "jsonpath={.data}"];
    write(serde_json::json!({"a": "1", "b": "1"}))?;
    contains(user, &["apply", "-f", &path], &["configmap/map created"])?;
    write(serde_json::json!({"a": "2"}))?;
    contains(user, &["apply", "--server-side", "-f", &path], &["configmap/map serverside-applied"])?;
    contains(user, data, &[r#"{"a":"2"}"#])?;
    contains(user, &["patch", "configmap", "map", "-p", r#"{"data":{"a":"3"}}"#], &["patched"])?;
    refused(user, &["apply", "--server-side", "-f", &path], "conflict with \"kubectl-patch\" using v1: .data.a")?;
    contains(user, &["apply", "--server-side", "--force-conflicts", "-f", &path], &["serverside-applied"])?;
    contains(user, data, &[r#"{"a":"2"}"#])?;
    contains(user, &["delete", "configmap", "map"], &["deleted"])?;
    contains(user, &["apply", "--server-side", "--force-conflicts", "-f", service], &["serverside-applied"])
}

fn contains(user: &User<'_>, args: &[&str], expected: &[&str]) -> Result<()> {
    place::shows(&mut user.kubectl(args).context("there is no kubectl")?, expected)
}

fn refused(user: &User<'_>, args: &[&str], expected: &str) -> Result<()> {
    let outcome = place::outcome(&mut user.kubectl(args).context("there is no kubectl")?)?;
    let said = place::text(&outcome);
    ensure(!outcome.status.success() && said.contains(expected), || format!("kubectl {}: {said}", args.join(" ")))
}

/// `kubectl logs -f` shows a request that comes after it began.
fn follow(user: &User<'_>) -> Result<()> {
    let object = ksvc::ready(&user.kwick.api, "typed")?;
    let host = ksvc::host(&object)?;
    let args = ["logs", "-f", "-l", "serving.knative.dev/service=typed", "-c", "user-container", "--tail=5"];
    let mut child = user.kubectl(&args).context("there is no kubectl")?.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("kubectl has no output")?;
    let reader = std::thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = stdout.read(&mut some) {
            all.extend_from_slice(some.get(..count).unwrap_or_default());
            if String::from_utf8_lossy(&all).contains("/followed") {
                return true;
            }
        }
        false
    });
    let seen = until_true("the request in `kubectl logs -f`", Duration::from_secs(20), || {
        ksvc::ask(&user.kwick.gateway, &host, "/followed")?;
        Ok(reader.is_finished())
    });
    child.kill().context("cannot end kubectl")?;
    child.wait()?;
    let has_shown = reader.join().ok().context("the reader ended early")?;
    seen?;
    ensure(has_shown, || "kubectl logs -f ended without the request".to_owned())
}
