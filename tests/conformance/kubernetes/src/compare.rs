//! Two answers side by side. What each server chooses for itself (uids, resourceVersions, addresses, generated names) is not ignored: what
//! is first seen in the same place is the same thing from then on. Times may be a moment apart.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Value, json};

use crate::client::Answer;

/// How far apart two servers may be with the same operation.
const MOMENT_SECONDS: i64 = 3;

/// What in a text is one server's own: a uid, a time, an address, the end of a generated name, a number.
static OWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]+)",
        r"|[0-9]+(?:\.[0-9]+){3}",
        r"|g[0-9]{5}-[a-z0-9]{5}",
        r"|[0-9]+",
    ))
    .ok()
});

/// Where two answers differ.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) kwick: Value,
    pub(crate) oracle: Value,
}

/// Which value of one server is which of the other's.
#[derive(Default)]
pub(crate) struct Pairs {
    there: BTreeMap<String, String>,
    back: BTreeMap<String, String>,
    /// The object that is looked at, by its uid here: its ports and addresses are given out again when it has them no more.
    object: String,
    revisions: BTreeMap<u64, u64>,
    revisions_back: BTreeMap<u64, u64>,
}

impl Pairs {
    /// Every difference between two answers.
    pub(crate) fn answers(&mut self, kwick: &Answer, oracle: &Answer) -> Vec<Difference> {
        let mut found = Vec::new();
        let head = |answer: &Answer| json!({"status": answer.status, "contentType": answer.content_type});
        self.walk(&head(kwick), &head(oracle), "", &mut found);
        self.walk(&json!(kwick.warnings), &json!(oracle.warnings), "/warnings", &mut found);
        found.extend(self.bodies(&kwick.body, &oracle.body));
        found
    }

    /// Every difference between two bodies or events.
    pub(crate) fn bodies(&mut self, kwick: &Value, oracle: &Value) -> Vec<Difference> {
        let mut found = Vec::new();
        self.walk(&tidy(kwick), &tidy(oracle), "", &mut found);
        found
    }

    fn walk(&mut self, kwick: &Value, oracle: &Value, path: &str, found: &mut Vec<Difference>) {
        match (kwick, oracle) {
            (Value::Object(ours), Value::Object(theirs)) => {
                for (name, value) in theirs {
                    self.walk(ours.get(name).unwrap_or(&Value::Null), value, &format!("{path}/{name}"), found);
                }
                for (name, value) in ours.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
                    self.walk(value, &Value::Null, &format!("{path}/{name}"), found);
                }
            }
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
                for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    self.walk(ours, theirs, &format!("{path}/{at}"), found);
                }
            }
            _ if self.is_same(kwick, oracle, path) => {}
            _ => found.push(Difference { path: path.to_owned(), kwick: kwick.clone(), oracle: oracle.clone() }),
        }
    }

    fn is_same(&mut self, kwick: &Value, oracle: &Value, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Value::String(uid) = kwick
            && path.ends_with("metadata/uid")
        {
            self.object.clone_from(uid);
        }
        let is_address = name == "clusterIP" || path.ends_with("/clusterIPs/0");
        match (kwick, oracle) {
            (Value::String(ours), Value::String(theirs)) if is_address && is_ip(ours) && is_ip(theirs) => {
                let class = format!("given {}", self.object);
                ours == theirs || self.pair(&class, ours, theirs)
            }
            (Value::String(ours), Value::String(theirs)) => match name {
                "resourceVersion" => self.revision(ours, theirs),
                "listRevision" => self.moment(ours, theirs),
                "uid" => self.pair("", ours, theirs),
                "continue" => ours.is_empty() == theirs.is_empty(),
                _ => ours == theirs || self.text(ours, theirs),
            },
            (Value::Number(ours), Value::Number(theirs)) if matches!(name, "nodePort" | "healthCheckNodePort") => {
                let class = format!("given {}", self.object);
                self.pair(&class, &ours.to_string(), &theirs.to_string())
            }
            _ => kwick == oracle,
        }
    }

    fn pair(&mut self, class: &str, ours: &str, theirs: &str) -> bool {
        let (ours, theirs) = (format!("{class} {ours}"), format!("{class} {theirs}"));
        match (self.there.get(&ours), self.back.get(&theirs)) {
            (Some(there), Some(back)) => *there == theirs && *back == ours,
            (None, None) => {
                self.there.insert(ours.clone(), theirs.clone());
                self.back.insert(theirs, ours);
                true
            }
            _ => false,
        }
    }

    /// Whether it is the same port or address of some object.
    fn is_given(&self, ours: &str, theirs: &str) -> bool {
        let is_of = |text: &str, given: &str| text.starts_with("given ") && text.rsplit(' ').next() == Some(given);
        self.there.iter().any(|(here, there)| is_of(here, ours) && is_of(there, theirs))
    }

    /// An object's resourceVersion. Both servers make the same changes in the same order.
    fn revision(&mut self, ours: &str, theirs: &str) -> bool {
        let (Ok(ours), Ok(theirs)) = (ours.parse(), theirs.parse()) else { return ours == theirs };
        match (self.revisions.get(&ours), self.revisions_back.get(&theirs)) {
            (Some(there), Some(back)) => *there == theirs && *back == ours,
            (None, None) => {
                let is_after = self.revisions.range(..ours).next_back().is_none_or(|(_, before)| *before < theirs);
                let is_before = self.revisions.range(ours..).next().is_none_or(|(_, after)| *after > theirs);
                if is_after && is_before {
                    self.revisions.insert(ours, theirs);
                    self.revisions_back.insert(theirs, ours);
                }
                is_after && is_before
            }
            _ => false,
        }
    }

    /// A collection's resourceVersion: between the same two changes of objects.
    fn moment(&self, ours: &str, theirs: &str) -> bool {
        let (Ok(ours), Ok(theirs)) = (ours.parse::<u64>(), theirs.parse::<u64>()) else { return ours == theirs };
        let before = self.revisions.range(..=ours).next_back().map(|pair| *pair.1);
        before == self.revisions_back.range(..=theirs).next_back().map(|pair| *pair.0)
    }

    fn text(&mut self, ours: &str, theirs: &str) -> bool {
        if let (Some(ours), Some(theirs)) = (shown_value(ours), shown_value(theirs)) {
            let is_same = self.bodies(&ours.value, &theirs.value).is_empty();
            return is_same
                && self.text(&ours.before, &theirs.before)
                && (ours.after == theirs.after || self.text(&ours.after, &theirs.after));
        }
        let Some(own) = OWN.as_ref() else { return false };
        let pieces = |text: &str| own.split(text).map(str::to_owned).collect::<Vec<_>>();
        if pieces(ours) != pieces(theirs) {
            return false;
        }
        let words = own.find_iter(ours).zip(own.find_iter(theirs));
        let words: Vec<_> =
            words.map(|(ours, theirs)| (ours.as_str().to_owned(), theirs.as_str().to_owned())).collect();
        words.iter().all(|(ours, theirs)| ours == theirs || self.own(ours, theirs))
    }

    fn own(&mut self, ours: &str, theirs: &str) -> bool {
        let times = (ours.parse::<Timestamp>(), theirs.parse::<Timestamp>());
        if let (Ok(ours), Ok(theirs)) = times {
            return (ours.as_second() - theirs.as_second()).abs() <= MOMENT_SECONDS;
        }
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits(ours) && all_digits(theirs) {
            return self.is_given(ours, theirs) || self.revision(ours, theirs);
        }
        if is_ip(ours) && is_ip(theirs) && self.is_given(ours, theirs) {
            return true;
        }
        self.pair("", ours, theirs)
    }
}

fn is_ip(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// A value that stands in a message, whose fields Go lists in the order of its structs.
struct Shown {
    before: String,
    value: Value,
    /// Where others may follow.
    after: String,
}

/// The first such value of a message.
fn shown_value(text: &str) -> Option<Shown> {
    let words = ["Invalid value: ", "Unsupported value: ", "Duplicate value: "];
    let mut begins: Vec<usize> =
        words.iter().flat_map(|word| text.match_indices(word).map(|(at, _)| at + word.len())).collect();
    begins.sort_unstable();
    begins.into_iter().find_map(|at| {
        let (before, rest) = text.split_at_checked(at)?;
        let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = match reader.next()?.ok()? {
            Value::String(quoted) => serde_json::from_str(&quoted).ok()?,
            other => other,
        };
        let after = rest.get(reader.byte_offset()..)?.to_owned();
        (value.is_object() || value.is_array()).then(|| Shown { before: before.to_owned(), value, after })
    })
}

/// Puts what has no order of its own into one, after checking the order that each side gave it.
fn tidy(body: &Value) -> Value {
    let Value::Object(fields) = body else {
        return if let Value::Array(items) = body { items.iter().map(tidy).collect() } else { body.clone() };
    };
    let mut tidied: serde_json::Map<String, Value> =
        fields.iter().map(|(name, value)| (name.clone(), tidy(value))).collect();
    if let Some(Value::Array(entries)) = tidied.get_mut("managedFields") {
        order_managed(entries);
    }
    if tidied.get("kind").and_then(Value::as_str) == Some("Status") {
        order_causes(&mut tidied);
    }
    if tidied.get("type").and_then(Value::as_str) == Some("BOOKMARK")
        && let Some(Value::Object(object)) = tidied.get_mut("object")
    {
        // It says how far a watch is, and stands for no object.
        object.retain(|name, _| name == "metadata");
    }
    let is_list = tidied.contains_key("items");
    let is_bookmark = tidied.get("type").and_then(Value::as_str) == Some("BOOKMARK");
    let metadata = if is_bookmark {
        tidied.get_mut("object").and_then(|object| object.get_mut("metadata"))
    } else {
        tidied.get_mut("metadata")
    };
    if let Some(Value::Object(metadata)) = metadata
        && (is_list || is_bookmark)
        && let Some(revision) = metadata.remove("resourceVersion")
    {
        metadata.insert("listRevision".to_owned(), revision);
    }
    Value::Object(tidied)
}

/// Entries are ordered by their second, which may be another one on the other side.
fn order_managed(entries: &mut Vec<Value>) {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let by_time = |entry: &Value| {
        let update = entry["operation"] != "Apply";
        let names = ["manager", "apiVersion", "subresource"].map(|field| text(entry, field));
        (update, text(entry, "time"), names)
    };
    let is_ordered = entries.windows(2).all(|pair| by_time(&pair[0]) <= by_time(&pair[1]));
    entries.sort_by_key(|entry| {
        (entry["operation"] != "Apply", ["manager", "apiVersion", "subresource"].map(|field| text(entry, field)))
    });
    if !is_ordered {
        entries.push(json!("not in the order of time"));
    }
}

/// Go lists what is wrong with the entries of a map in any order.
fn order_causes(status: &mut serde_json::Map<String, Value>) {
    let Some(Value::Array(causes)) = status.get_mut("details").and_then(|details| details.get_mut("causes")) else {
        return;
    };
    if causes.len() < 2 {
        return;
    }
    causes.sort_by_key(Value::to_string);
    if let Some(Value::String(message)) = status.get_mut("message")
        && let Some((head, list)) = message.split_once(": [")
    {
        let mut items: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
        items.sort_unstable();
        *message = format!("{head}: [{}]", items.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_chooses_is_paired() {
        let mut pairs = Pairs::default();
        let of = |uid: &str, revision: &str| json!({"metadata": {"uid": uid, "resourceVersion": revision}});
        let (a, b) = ("11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555");
        assert!(pairs.bodies(&of(a, "5"), &of(b, "105")).is_empty());
        assert!(pairs.bodies(&of(a, "6"), &of(b, "109")).is_empty());
        assert_eq!(pairs.bodies(&of(b, "5"), &of(b, "109")).len(), 2);
        let list = |revision: &str| json!({"items": [], "metadata": {"resourceVersion": revision}});
        assert!(pairs.bodies(&list("7"), &list("112")).is_empty());
        assert_eq!(pairs.bodies(&list("5"), &list("112")).len(), 1);
    }

    #[test]
    fn a_port_is_paired_within_its_object() {
        let mut pairs = Pairs::default();
        let of = |uid: &str, port: u16| json!({"metadata": {"uid": uid}, "spec": {"ports": [{"nodePort": port}]}});
        assert!(pairs.bodies(&of("a", 30000), &of("x", 31000)).is_empty());
        assert_eq!(pairs.bodies(&of("a", 30000), &of("x", 31001)).len(), 1);
        assert!(pairs.bodies(&of("b", 30000), &of("y", 31002)).is_empty());
        assert!(pairs.bodies(&json!("{TCP 30000}"), &json!("{TCP 31000}")).is_empty());
    }

    #[test]
    fn texts_may_differ_only_in_what_is_paired() {
        let mut pairs = Pairs::default();
        assert!(pairs.bodies(&json!("g00012-abcde is new"), &json!("g00012-vwxyz is new")).is_empty());
        assert_eq!(pairs.bodies(&json!("g00012-abcde is"), &json!("g00012-other is")).len(), 1);
        assert_eq!(pairs.bodies(&json!("one"), &json!("two")).len(), 1);
        let said = |object: &str| json!(format!("Invalid value: {object:?}: wrong"));
        assert!(pairs.bodies(&said(r#"{"a":1,"b":2}"#), &said(r#"{"b":2,"a":1}"#)).is_empty());
        assert_eq!(pairs.bodies(&said(r#"{"a":1}"#), &said(r#"{"a":2}"#)).len(), 1);
        let both =
            |one: &str, two: &str| json!(format!("[a: Invalid value: {one}: x, b: Unsupported value: {two}: y]"));
        let same =
            pairs.bodies(&both(r#"{"a":1,"b":2}"#, r#"{"c":3,"d":4}"#), &both(r#"{"b":2,"a":1}"#, r#"{"d":4,"c":3}"#));
        assert!(same.is_empty());
        assert_eq!(pairs.bodies(&both("{}", r#"{"c":3}"#), &both("{}", r#"{"c":4}"#)).len(), 1);
        assert!(pairs.bodies(&json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T00:00:02Z")).is_empty());
        assert_eq!(pairs.bodies(&json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T01:00:00Z")).len(), 1);
    }
}
