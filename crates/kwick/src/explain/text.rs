//! An answer as a person reads it: what is wrong first, what to type last.

use std::fmt::Write as _;

use jiff::Timestamp;
use knative_apis::condition::{Condition, ConditionStatus};
use knative_proxy::gateway::{Destination, Leads, Share};
use knative_serving::explain::{ContainerTrouble, Explanation, RevisionReport, Scaling, TrafficShare};

use super::{Answer, Fate, Request};

/// The answer in lines.
pub(crate) fn text(answer: &Answer) -> String {
    let Answer { explanation, request, next } = answer;
    let mut parts = vec![head(explanation)];
    parts.extend(section("What is wrong", wrong(explanation)));
    let scaled = explanation.revisions.iter().flat_map(|revision| revision_lines(revision, explanation.at)).collect();
    parts.extend(section("What scales it", scaled));
    if let Some(request) = request {
        let title = format!("Where a request for {} goes", request.url);
        parts.extend(section(&title, request_lines(request, explanation)));
    }
    parts.extend(section("Not told", explanation.withheld.clone()));
    let width = next.iter().map(|step| step.command.len()).max().unwrap_or_default();
    let next = next.iter().map(|step| format!("{:width$}   {}", step.command, step.why)).collect();
    parts.extend(section("Next", next));
    parts.join("\n\n")
}

fn section(title: &str, lines: Vec<String>) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let indented = lines.iter().flat_map(|line| line.split('\n')).fold(title.to_owned(), |mut text, line| {
        // Writing into a String does not fail.
        let _ = write!(text, "\n  {line}");
        text
    });
    Some(indented)
}

fn head(explanation: &Explanation) -> String {
    let Explanation { namespace, name, url, ready, is_current, at, .. } = explanation;
    let state = match ready.status {
        ConditionStatus::True if *is_current => "is ready",
        ConditionStatus::False => "is not ready",
        _ => "is not ready yet",
    };
    let mut head = format!("ksvc/{name} in namespace {namespace} {state}");
    if !ready.is_true() {
        let _ = write!(head, ": {}", condition(ready, *at));
    }
    if let Some(url) = url {
        let _ = write!(head, "\n{url}");
    }
    head
}

fn condition(condition: &Condition, at: Timestamp) -> String {
    let since = condition.since().map(|since| format!(" for {}", span(since, at))).unwrap_or_default();
    let message = first_line(&condition.message);
    let said = [condition.reason.as_str(), message.as_str()];
    let said = said.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    let is = format!("{} is {:?}{since}", condition.type_, condition.status);
    if said.is_empty() { is } else { format!("{is}; {said}") }
}

fn wrong(explanation: &Explanation) -> Vec<String> {
    let at = explanation.at;
    let mut lines: Vec<String> = explanation
        .troubles
        .iter()
        .map(|found| format!("{}: {}", found.object, condition(&found.condition, at)))
        .collect();
    lines.extend(explanation.containers.iter().map(container));
    lines.extend(explanation.events.iter().map(|event| {
        let last = event.last.map(|last| format!(", {} ago", span(last, at))).unwrap_or_default();
        let times = if event.count == 1 { "once".to_owned() } else { format!("{} times", event.count) };
        format!("{}: Event {} ({times}{last}): {}", event.object, event.reason, first_line(&event.message))
    }));
    lines.extend(explanation.controllers.iter().filter(|outcome| outcome.is_trouble()).map(|outcome| {
        let said = outcome.refused.iter().fold(outcome.outcome.clone(), |said, refusal| format!("{said}: {refusal}"));
        format!("{}: controller {}, {} ago: {said}", outcome.object, outcome.controller, span(outcome.at, at))
    }));
    lines
}

fn container(trouble: &ContainerTrouble) -> String {
    let ContainerTrouble { pod, container, state, restarts, last_end, log, .. } = trouble;
    let mut text = format!("pod/{pod}");
    if let Some(container) = container {
        let _ = write!(text, ", container {container}");
    }
    let _ = write!(text, ": {}", first_line(state));
    if *restarts > 0 {
        let _ = write!(text, "; restarts: {restarts}");
    }
    if let Some(end) = last_end {
        let _ = write!(text, "; ended with {end}");
    }
    if !log.is_empty() {
        text.push_str("; its last lines:");
    }
    for line in log {
        let _ = write!(text, "\n  | {}", printable(line));
    }
    text
}

/// The first line of a text: an end's message may be all that a program printed.
fn first_line(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = printable(lines.next().unwrap_or_default());
    if lines.next().is_some() { format!("{first} …") } else { first }
}

/// What a container writes does not move the cursor.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

fn revision_lines(revision: &RevisionReport, at: Timestamp) -> Vec<String> {
    if !revision.exists {
        return vec![format!("revision/{}: it is not there, or you may not read it", revision.name)];
    }
    let mut lines = vec![format!("revision/{}: {}; {}", revision.name, traffic(&revision.traffic), pods(revision))];
    lines
        .extend(revision.scaling.iter().flat_map(|scaling| scaling_lines(scaling, at)).map(|line| format!("  {line}")));
    lines
}

fn traffic(shares: &[TrafficShare]) -> String {
    if shares.is_empty() {
        return "no traffic".to_owned();
    }
    let share = |share: &TrafficShare| match (&share.tag, &share.url) {
        (Some(tag), Some(url)) => format!("{} % of the traffic, tag {tag} at {url}", share.percent),
        (Some(tag), None) => format!("{} % of the traffic, tag {tag}", share.percent),
        (None, _) => format!("{} % of the traffic", share.percent),
    };
    shares.iter().map(share).collect::<Vec<_>>().join("; ")
}

fn pods(revision: &RevisionReport) -> String {
    match (revision.pods_ready, revision.pods) {
        (0, 0) if revision.active.reason == "NoTraffic" => {
            "no Pod: scaled to zero, the next request starts one".to_owned()
        }
        (_, 0) => "no Pod".to_owned(),
        (ready, all) => format!("{}, ready: {ready}", pods_of(all)),
    }
}

fn scaling_lines(scaling: &Scaling, at: Timestamp) -> Vec<String> {
    let Scaling { class, metric, target, total, min, max, .. } = scaling;
    let aim = match (target, total) {
        (Some(target), Some(total)) if target < total => format!(", {target} per Pod of the {total} that it can have"),
        (Some(target), _) => format!(", {target} per Pod"),
        (None, _) => String::new(),
    };
    let most = if *max == 0 { "no limit".to_owned() } else { max.to_string() };
    let count = |count: Option<i32>| count.map_or("not known".to_owned(), |count| count.to_string());
    let (desired, actual) = (count(scaling.desired), count(scaling.actual));
    let mut lines = vec![
        format!("class {class} by {metric}{aim}"),
        format!("Pods wanted {desired}, there {actual}; least {min}, most {most}"),
    ];
    if let Some(windows) = &scaling.windows {
        lines.push(format!(
            "averages over {} s; panic from {} % over {} s; room for a burst of {}",
            windows.stable_s, windows.panic_threshold_percent, windows.panic_s, windows.target_burst_capacity
        ));
    }
    lines.extend(scaling.measured.as_ref().map(|measured| {
        let mode = if measured.is_panicking { "panic, Pods are only added" } else { "stable" };
        let held = if measured.is_held { ", held until a window has been watched" } else { "" };
        format!(
            "measured {:.2}, in the panic window {:.2}, {} ago: {mode}{held}",
            measured.stable,
            measured.panic,
            span(measured.at, at)
        )
    }));
    lines.extend(scaling.has_activator_in_path.map(|has_activator| {
        let way =
            if has_activator { "pass the activator (mode Proxy)" } else { "go straight to the Pods (mode Serve)" };
        format!("requests {way}")
    }));
    if !scaling.is_reachable {
        lines.push("no Route leads to it".to_owned());
    }
    lines
}

fn request_lines(request: &Request, explanation: &Explanation) -> Vec<String> {
    match &request.fate {
        Fate::Unknown => vec![
            "nowhere: no route has this host and path, the gateway answers 404".to_owned(),
            format!("the Service is at {}", hosts(explanation)),
        ],
        Fate::Withheld => vec!["to a route that you may not read".to_owned()],
        Fate::Routed(destination) => destination_lines(destination, explanation),
    }
}

/// Every URL that leads to the Service.
fn hosts(explanation: &Explanation) -> String {
    let tags =
        explanation.revisions.iter().flat_map(|revision| &revision.traffic).filter_map(|share| share.url.as_ref());
    let all: Vec<&str> = explanation.url.iter().chain(tags).map(String::as_str).collect();
    if all.is_empty() { "no URL yet".to_owned() } else { all.join(", ") }
}

fn destination_lines(destination: &Destination, explanation: &Explanation) -> Vec<String> {
    let Destination { host, ingress, prefix, .. } = destination;
    let inside = if destination.is_cluster_local { ", from inside the cluster only" } else { "" };
    let path = if matches!(prefix.as_str(), "" | "/") { String::new() } else { format!(", path {prefix}…") };
    let mut lines = vec![format!("gateway, host {host}{path}: Ingress {ingress}{inside}")];
    if destination.redirects_to_https {
        lines.push("plain HTTP is sent on to HTTPS".to_owned());
    }
    match &destination.stands_for {
        Some(inner) => {
            lines.push(format!("it stands for {}", inner.host));
            lines.extend(destination_lines(inner, explanation));
        }
        None => lines.extend(destination.shares.iter().map(|share| share_line(share, explanation))),
    }
    lines
}

fn share_line(share: &Share, explanation: &Explanation) -> String {
    let Share { percent, revision, service, port, leads_to, addresses } = share;
    let to = match revision {
        Some(revision) => format!("revision/{}", revision.name),
        None => format!("Service {service}"),
    };
    let way = match leads_to {
        Leads::Activator => "through the activator (mode Proxy)".to_owned(),
        Leads::Pods => format!("straight to {} (mode Serve)", pods_of(*addresses)),
        Leads::Nowhere => "nothing is behind it".to_owned(),
    };
    let of_service = |name: &String| explanation.revisions.iter().find(|known| known.name == *name);
    let ready = revision.as_ref().and_then(|revision| of_service(&revision.name));
    let ready = ready.map(|known| format!("; ready: {}", known.pods_ready)).unwrap_or_default();
    format!("{percent:>3} %  {to}, by Service {}:{port}, {way}{ready}", service.name)
}

fn pods_of(count: usize) -> String {
    if count == 1 { "1 Pod".to_owned() } else { format!("{count} Pods") }
}

/// How long ago, to the precision that matters.
fn span(from: Timestamp, to: Timestamp) -> String {
    match to.duration_since(from).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
