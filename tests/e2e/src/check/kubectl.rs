//! What a user types with an unmodified kubectl.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

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

/// Applies, reads, follows the log, scales by annotation, patches, deletes.
pub(super) fn script(kwick: &Instance<'_>) -> Result<String> {
    if kwick.kubectl(&[]).is_none() {
        return Err(LeftOut("there is no kubectl").into());
    }
    let file = kwick.folder().with_extension("typed.json");
    std::fs::write(&file, Ksvc::hello("typed").scale("min-scale", "1").object().to_string())?;
    let path = file.display().to_string();
    contains(kwick, &["apply", "-f", &path], &["service.serving.knative.dev/typed created"])?;
    contains(kwick, &["wait", "ksvc/typed", "--for=condition=Ready", "--timeout=60s"], &["condition met"])?;
    for (args, expected) in READS {
        contains(kwick, args, expected)?;
    }
    // kubectl cannot merge a custom object's lists, so it sends what Knative's defaults completed; that changes nothing.
    contains(kwick, &["apply", "-f", &path], &["service.serving.knative.dev/typed"])?;
    contains(kwick, &["get", "ksvc", "typed", "-o", "jsonpath=generation {.metadata.generation}"], &["generation 1"])?;
    follow(kwick)?;
    contains(kwick, &["annotate", "ksvc", "typed", "example.com/seen=yes"], &["annotated"])?;
    contains(kwick, &["label", "ksvc", "typed", "seen=yes"], &["labeled"])?;
    contains(kwick, &["get", "ksvc", "-l", "seen=yes", "-o", "name"], &["service.serving.knative.dev/typed"])?;
    contains(kwick, &["create", "configmap", "typed", "--from-literal=a=b"], &["configmap/typed created"])?;
    contains(kwick, &["patch", "configmap", "typed", "-p", r#"{"data":{"c":"d"}}"#], &["patched"])?;
    contains(kwick, &["delete", "configmap", "typed"], &["deleted"])?;
    server_side(kwick, &path)?;
    contains(kwick, &["delete", "ksvc", "typed"], &["deleted"])?;
    refused(kwick, &["get", "ksvc", "typed"], "NotFound")?;
    Ok(format!("{} commands", READS.len() + 22))
}

/// What was applied by the client is applied by the server from then on; what others own is a conflict until it is forced.
fn server_side(kwick: &Instance<'_>, service: &str) -> Result<()> {
    let file = kwick.folder().with_extension("map.json");
    let path = file.display().to_string();
    let write = |data: serde_json::Value| {
        let map =
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": data});
        std::fs::write(&file, map.to_string())
    };
    let data = &["get", "configmap", "map", "-o", "jsonpath={.data}"];
    write(serde_json::json!({"a": "1", "b": "1"}))?;
    contains(kwick, &["apply", "-f", &path], &["configmap/map created"])?;
    write(serde_json::json!({"a": "2"}))?;
    contains(kwick, &["apply", "--server-side", "-f", &path], &["configmap/map serverside-applied"])?;
    contains(kwick, data, &[r#"{"a":"2"}"#])?;
    contains(kwick, &["patch", "configmap", "map", "-p", r#"{"data":{"a":"3"}}"#], &["patched"])?;
    refused(kwick, &["apply", "--server-side", "-f", &path], "conflict with \"kubectl-patch\" using v1: .data.a")?;
    contains(kwick, &["apply", "--server-side", "--force-conflicts", "-f", &path], &["serverside-applied"])?;
    contains(kwick, data, &[r#"{"a":"2"}"#])?;
    contains(kwick, &["delete", "configmap", "map"], &["deleted"])?;
    contains(kwick, &["apply", "--server-side", "--force-conflicts", "-f", service], &["serverside-applied"])
}

fn contains(kwick: &Instance<'_>, args: &[&str], expected: &[&str]) -> Result<()> {
    let mut command = kwick.kubectl(args).context("there is no kubectl")?;
    let said = place::output(&mut command)?;
    let missing = expected.iter().find(|part| !said.contains(**part));
    missing.map_or(Ok(()), |part| bail!("kubectl {}: {part:?} is not in {said:?}", args.join(" ")))
}

fn refused(kwick: &Instance<'_>, args: &[&str], expected: &str) -> Result<()> {
    let outcome = place::outcome(&mut kwick.kubectl(args).context("there is no kubectl")?)?;
    let said = place::text(&outcome);
    ensure(!outcome.status.success() && said.contains(expected), || format!("kubectl {}: {said}", args.join(" ")))
}

/// `kubectl logs -f` shows a request that comes after it began.
fn follow(kwick: &Instance<'_>) -> Result<()> {
    let object = ksvc::ready(&kwick.api, "typed")?;
    let host = ksvc::host(&object)?;
    let args = ["logs", "-f", "-l", "serving.knative.dev/service=typed", "-c", "user-container", "--tail=5"];
    let mut child = kwick.kubectl(&args).context("there is no kubectl")?.stdout(Stdio::piped()).spawn()?;
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
        ksvc::ask(&kwick.gateway, &host, "/followed")?;
        Ok(reader.is_finished())
    });
    child.kill().context("cannot end kubectl")?;
    child.wait()?;
    let has_shown = reader.join().ok().context("the reader ended early")?;
    seen?;
    ensure(has_shown, || "kubectl logs -f ended without the request".to_owned())
}
