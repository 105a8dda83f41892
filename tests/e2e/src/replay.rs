//! kn's recorded requests, sent again: methods, status codes and ends of watches agree.
//!
//! The recording was made on another server, so what a server chooses is filled in from this one's answers: resourceVersions, uids,
//! generations; bodies that the recording cut are made from the object that the client had just read, with what the cut body still
//! shows laid over it. Every written template gets a time stamp of its own, as kn gives it, so revisions come as they did there. A
//! watch ends, as kn ends it, when the service is ready in its newest generation.
//!
//! ```text
//! ## svc-create                            a section, one run of kn
//!    GET /apis/… -> 404                    a request and its status
//!          {"accept": …, "content-type": …}
//!          BODY {…                         maybe cut
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value};

use crate::api::{Api, text};
use crate::instance::Instance;
use crate::ksvc;
use crate::place::Place;
use crate::until::until;

/// The sections that are replayed.
const SECTIONS: [&str; 3] = ["svc-", "rev-", "route-"];
const WATCH_FOR: Duration = Duration::from_secs(60);
const STAMP: &str = "client.knative.dev/updateTimestamp";

/// Where.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

/// One recorded request.
#[derive(Debug, PartialEq)]
struct Recorded {
    section: String,
    method: String,
    path: String,
    status: u16,
    content: String,
    body: String,
}

/// Replays the sections; fails when an answer is another one.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let file = place.workspace("../shared/golden/requests-kn-1.15.txt");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let requests: Vec<Recorded> = parse(&text)?
        .into_iter()
        .filter(|request| SECTIONS.iter().any(|prefix| request.section.starts_with(prefix)))
        .collect();
    let kwick = Instance::start(place, "replay")?;
    for image in ["img", "img2", "img3"] {
        kwick.import_hello(image)?;
    }
    let mut replay = Replay { api: &kwick.api, seen: BTreeMap::new(), deleted: BTreeSet::new(), stamps: 0 };
    let (mut agreeing, mut differing) = (0, Vec::new());
    for request in &requests {
        match replay.send(request) {
            Ok(()) => agreeing += 1,
            Err(error) => {
                differing.push(format!("{}: {} {}: {error:#}", request.section, request.method, request.path))
            }
        }
    }
    kwick.down()?;
    println!("{agreeing} of {} recorded requests agree", requests.len());
    if !differing.is_empty() {
        bail!("{} differ:\n  {}", differing.len(), differing.join("\n  "));
    }
    Ok(())
}

struct Replay<'a> {
    api: &'a Api,
    /// The last answer at each path.
    seen: BTreeMap<String, Value>,
    /// The paths of objects that were asked to go.
    deleted: BTreeSet<String>,
    stamps: u32,
}

impl Replay<'_> {
    fn send(&mut self, request: &Recorded) -> Result<()> {
        if request.path.contains("watch=true") {
            return self.watch(request);
        }
        if request.method == "GET" && request.status == 200 && request.path.contains("/revisions/") {
            // kn ran after the controllers had made the revision; what is compared is what it then got.
            self.await_object(&request.path)?;
        }
        let body = self.body(request)?;
        let (status, answer) = self.api.send(&request.method, &request.path, &request.content, body.as_bytes())?;
        if status != request.status {
            bail!("{status} instead of {}: {}", request.status, text(&answer, "/message"));
        }
        if matches!(request.method.as_str(), "GET" | "PUT" | "PATCH") {
            self.seen.insert(request.path.clone(), answer);
        } else if request.method == "POST" {
            let path = format!("{}/{}", request.path, text(&answer, "/metadata/name"));
            self.deleted.remove(&path);
            self.seen.insert(path, answer);
        } else if request.method == "DELETE" {
            self.deleted.insert(request.path.clone());
        }
        Ok(())
    }

    fn await_object(&self, path: &str) -> Result<()> {
        until("the object", ksvc::PATIENCE, || self.api.get(path)).map(|_| ())
    }

    /// Watches from the revision last seen until the service is ready, or gone if it was deleted; the stream must last until then.
    fn watch(&mut self, request: &Recorded) -> Result<()> {
        let name = request.path.split("metadata.name%3D").nth(1).and_then(|rest| rest.split('&').next());
        let name = name.context("a watch of no single object")?;
        let object = self.seen.get(&ksvc::path(name)).context("a watch before the object was read")?;
        let version = text(object, "/metadata/resourceVersion");
        let path = with_version(&request.path, version);
        let mut answer = self.api.open("GET", &path, &request.content, b"")?;
        if answer.status != request.status {
            bail!("{} instead of {}", answer.status, request.status);
        }
        let end = Instant::now() + WATCH_FOR;
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let is_deleted = self.deleted.contains(&ksvc::path(name));
        if !is_deleted && ksvc::is_ready(object, "True") {
            return Ok(());
        }
        while Instant::now() < end {
            let line = answer
                .line()
                .context("the watch broke off")?
                .context("the watch ended before the service was ready")?;
            let event: Value = serde_json::from_slice(&line).context("an event that is not JSON")?;
            if text(&event, "/type") == "ERROR" {
                bail!("the watch said {}", text(&event, "/object/message"));
            }
            let object = event.get("object").context("an event without an object")?;
            let is_newest = object.pointer("/metadata/generation").and_then(Value::as_i64) >= Some(generation);
            let has_come = if is_deleted {
                text(&event, "/type") == "DELETED"
            } else {
                is_newest && ksvc::is_ready(object, "True")
            };
            if has_come {
                return Ok(());
            }
        }
        bail!("the service was not ready (or gone) within {} s", WATCH_FOR.as_secs())
    }

    /// The body to send: the recorded one, repaired and with this server's own values.
    fn body(&mut self, request: &Recorded) -> Result<String> {
        if request.body.is_empty() || request.method == "DELETE" {
            return Ok(request.body.clone());
        }
        let recorded = salvage(&request.body).context("a recorded body that is no JSON")?;
        let mut body = match (request.method.as_str(), self.seen.get(&request.path)) {
            ("PUT", Some(seen)) => {
                let mut body = seen.clone();
                if let (Some(template), Some(spec)) =
                    (recorded.pointer("/spec/template"), body.get_mut("spec").and_then(Value::as_object_mut))
                {
                    spec.insert("template".to_owned(), template.clone());
                }
                body
            }
            _ => recorded,
        };
        self.stamps += 1;
        if let Some(annotations) =
            body.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut)
            && (annotations.contains_key(STAMP) || request.method == "PUT")
        {
            let (minutes, seconds) = (self.stamps / 60, self.stamps % 60);
            annotations.insert(STAMP.to_owned(), format!("2026-01-01T00:{minutes:02}:{seconds:02}Z").into());
        }
        Ok(body.to_string())
    }
}

/// A watch's path with this server's resourceVersion.
fn with_version(path: &str, version: &str) -> String {
    let parts = path.split('&').map(|part| match part.split_once("resourceVersion=") {
        Some((before, _)) => format!("{before}resourceVersion={version}"),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("&")
}

fn parse(text: &str) -> Result<Vec<Recorded>> {
    let mut requests: Vec<Recorded> = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = line.strip_prefix("## ") {
            name.trim().clone_into(&mut section);
        } else if let Some((request, status)) =
            trimmed.rsplit_once(" -> ").filter(|_| line.starts_with("   ") && !line.starts_with("      "))
        {
            let (method, path) = request.split_once(' ').with_context(|| format!("no request: {line}"))?;
            let status = status
                .split(' ')
                .next()
                .and_then(|code| code.parse().ok())
                .with_context(|| format!("no status: {line}"))?;
            requests.push(Recorded {
                section: section.clone(),
                method: method.to_owned(),
                path: path.to_owned(),
                status,
                content: "application/json".to_owned(),
                body: String::new(),
            });
        } else if let (Some(body), Some(last)) = (trimmed.strip_prefix("BODY "), requests.last_mut()) {
            body.clone_into(&mut last.body);
        } else if let (true, Some(last)) = (trimmed.starts_with('{'), requests.last_mut()) {
            let headers: Map<String, Value> =
                serde_json::from_str(trimmed).with_context(|| format!("no headers: {line}"))?;
            if let Some(content) = headers.get("content-type").and_then(Value::as_str) {
                content.clone_into(&mut last.content);
            }
        }
    }
    Ok(requests)
}

/// The JSON that a text begins with, although it is cut somewhere: the longest part that can be closed.
fn salvage(cut: &str) -> Option<Value> {
    if let Ok(whole) = serde_json::from_str(cut) {
        return Some(whole);
    }
    let ends =
        cut.char_indices().rev().filter(|(_, letter)| matches!(letter, ',' | '{' | '[' | '}' | ']')).map(|(at, _)| at);
    ends.filter_map(|at| {
        let end = if cut[at..].starts_with(',') { at } else { at + 1 };
        let kept = cut.get(..end)?;
        serde_json::from_str(&format!("{kept}{}", closing(kept)?)).ok()
    })
    .next()
}

/// The brackets that are still open at the end of a text; nothing inside a string.
fn closing(text: &str) -> Option<String> {
    let (mut open, mut in_string, mut is_escaped) = (Vec::new(), false, false);
    for letter in text.chars() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()?),
            _ => {}
        }
    }
    (!in_string).then(|| open.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cut_bodies_keep_what_is_whole() {
        assert_eq!(
            salvage(r#"{"a":{"b":[1,{"c":"}"}]},"traffic":[{"revisio"#),
            Some(json!({"a": {"b": [1, {"c": "}"}]}, "traffic": [{}]}))
        );
        assert_eq!(salvage(r#"{"a":1,"b":"x\"#), Some(json!({"a": 1})));
        assert_eq!(salvage(r#"{"a":1}"#), Some(json!({"a": 1})));
        assert_eq!(salvage("no"), None);
    }

    #[test]
    fn recordings_are_read() {
        let text = "## svc-x\n   POST /apis/a -> 201  \n         {\"content-type\": \"application/merge-patch+json\"}\n         BODY {\"a\":1}\n\n   GET /b -> 404 text/plain \n";
        let requests = parse(text).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (requests[0].section.as_str(), requests[0].status, requests[0].body.as_str()),
            ("svc-x", 201, "{\"a\":1}")
        );
        assert_eq!(requests[0].content, "application/merge-patch+json");
        assert_eq!((requests[1].method.as_str(), requests[1].path.as_str(), requests[1].status), ("GET", "/b", 404));
    }

    #[test]
    fn a_watch_begins_at_this_servers_revision() {
        let path = "/s?fieldSelector=metadata.name%3Dx&resourceVersion=1642&watch=true";
        assert_eq!(with_version(path, "7"), "/s?fieldSelector=metadata.name%3Dx&resourceVersion=7&watch=true");
        assert_eq!(with_version("/s?resourceVersion=1&watch=true", "7"), "/s?resourceVersion=7&watch=true");
    }
}
