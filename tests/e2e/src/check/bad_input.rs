//! What a mistake gets: Knative's reason, a message to act on, and no harm to others.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::api::text;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc, SERVICES};
use crate::place::{self};
use crate::until::until;

/// Longer than the progress deadline that these checks set.
const VERDICT_WITHIN: Duration = Duration::from_secs(60);

/// Refused as Knative's webhook refuses, with its text.
pub(super) fn invalid_object(kwick: &Instance<'_>) -> Result<String> {
    let mut object = Ksvc::hello("wrong").scale("min-scale", "-1").object();
    let (status, answer) = kwick.api.send("POST", SERVICES, "application/json", object.to_string().as_bytes())?;
    let message = text(&answer, "/message").to_owned();
    let begin = "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: ";
    ensure(status == 400 && message.starts_with(begin), || format!("{status}: {message}"))?;
    object["metadata"]["name"] = json!("Not_A_Name");
    let (status, answer) = kwick.api.send("POST", SERVICES, "application/json", object.to_string().as_bytes())?;
    ensure(matches!(status, 400 | 422), || format!("{status}: {}", text(&answer, "/message")))?;
    Ok(message.trim_start_matches(begin).to_owned())
}

/// A dry run tries the Pod, too, and leaves nothing.
pub(super) fn dry_run(kwick: &Instance<'_>) -> Result<String> {
    let path = format!("{SERVICES}?dryRun=All");
    let mut object = Ksvc::hello("tried").object();
    let try_it =
        |object: &serde_json::Value| kwick.api.send("POST", &path, "application/json", object.to_string().as_bytes());
    let (status, answer) = try_it(&object)?;
    ensure(status == 201, || format!("{status}: {}", text(&answer, "/message")))?;
    object["spec"]["template"]["spec"]["containers"][0]["name"] = json!("&InvalidValue");
    let (status, answer) = try_it(&object)?;
    let message = text(&answer, "/message").to_owned();
    let tried = "validation callback failed: dry run failed with Pod \"dry-run-validation";
    ensure(status == 400 && message.contains(tried), || format!("{status}: {message}"))?;
    ensure(kwick.api.get(&ksvc::path("tried"))?.is_none(), || "it is there".to_owned())?;
    Ok(message)
}

/// An image that nobody has.
pub(super) fn image_not_found(kwick: &Instance<'_>) -> Result<String> {
    let neighbour = ksvc::host(&Ksvc::hello("neighbour").deploy(&kwick.api)?)?;
    Ksvc::hello("lost").image("127.0.0.1:1/nowhere:none").create(&kwick.api)?;
    let said = failed(kwick, "lost", &["RevisionFailed", "RevisionMissing"], &["ContainerMissing"])?;
    ensure(said.contains("nowhere"), || format!("the message does not name the image: {said}"))?;
    ksvc::greet(&kwick.gateway, &neighbour).context("a neighbour is disturbed")?;
    remove(kwick, &["lost", "neighbour"])?;
    Ok(said)
}

/// A program that ends at once: Kwick's own binary without a command prints its help and fails.
pub(super) fn crash_loop(kwick: &Instance<'_>) -> Result<String> {
    let status = kwick.status()?;
    let pid = status.pointer("/pid").and_then(serde_json::Value::as_i64).context("kwick status has no pid")?;
    let binary = format!("/proc/{pid}/exe");
    place::output(&mut kwick.kwick(&["image", "pack", &binary, "--name", "crasher", "--port", "8080"]))?;
    let mut object = Ksvc::hello("crashing").image("crasher").object();
    object["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/progress-deadline"] = json!("15s");
    kwick.api.create(SERVICES, &object)?;
    let said = failed(
        kwick,
        "crashing",
        &["RevisionFailed", "RevisionMissing"],
        &["ExitCode2", "ExitCode1", "ProgressDeadlineExceeded"],
    )?;
    remove(kwick, &["crashing"])?;
    Ok(said)
}

/// A program that runs and never passes its readiness probe.
pub(super) fn never_ready(kwick: &Instance<'_>) -> Result<String> {
    let mut object = Ksvc::hello("unready").object();
    object["spec"]["template"]["metadata"]["annotations"]["serving.knative.dev/progress-deadline"] = json!("10s");
    object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/?ms=30000"}, "timeoutSeconds": 1, "periodSeconds": 1});
    kwick.api.create(SERVICES, &object)?;
    let said = failed(kwick, "unready", &["RevisionFailed", "RevisionMissing"], &["ProgressDeadlineExceeded"])?;
    remove(kwick, &["unready"])?;
    Ok(said)
}

/// Waits until the Service's Ready is False with one of these reasons, and its first revision's with one of those; both messages.
pub(super) fn failed(
    kwick: &Instance<'_>,
    name: &str,
    service_reasons: &[&str],
    revision_reasons: &[&str],
) -> Result<String> {
    until(&format!("Ready=False of {name}"), VERDICT_WITHIN, || {
        let service = kwick.api.get(&ksvc::path(name))?.context("it is not there")?;
        let revision = format!("/apis/serving.knative.dev/v1/namespaces/default/revisions/{name}-00001");
        let revision = kwick.api.get(&revision)?.context("it has no revision")?;
        let (status, reason, message) = ksvc::condition(&service, "Ready");
        let (revision_status, revision_reason, revision_message) = ksvc::condition(&revision, "Ready");
        let is_so = status == "False"
            && service_reasons.contains(&reason)
            && revision_status == "False"
            && revision_reasons.contains(&revision_reason);
        if is_so {
            let first = revision_message.lines().next().unwrap_or_default();
            return Ok(Some(format!("{reason}; {revision_reason}: {first}")));
        }
        bail!(
            "the service says {status} {reason} {message:?}, its revision {revision_status} {revision_reason} {revision_message:?}"
        )
    })
}

/// Deletes Services.
pub(super) fn remove(kwick: &Instance<'_>, names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| kwick.api.delete(&ksvc::path(name)))
}
