//! Differences in groups, what of them is known, and how they are shown.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::operation::{Act, On, Operation};
use crate::run::Finding;

/// How much of an answer is shown.
const SHOWN: usize = 3000;
const SHOWN_OF_VALUE: usize = 160;
/// So many differences may be meant to be there.
const MOST_KNOWN: usize = 10;

/// A difference that is meant to be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownText {
    signature: String,
    reason: String,
}

/// The list of them.
pub(crate) struct Known(Vec<(Regex, String)>);

impl Known {
    /// Reads the list that this program carries.
    pub(crate) fn load() -> Result<Self> {
        let list: Vec<KnownText> = serde_saphyr::from_str(include_str!("../data/known.yaml")).context("known.yaml")?;
        if list.len() > MOST_KNOWN {
            bail!("known.yaml has {} entries, and may have {MOST_KNOWN}", list.len());
        }
        let one = |known: KnownText| Ok((Regex::new(&known.signature)?, known.reason));
        Ok(Self(list.into_iter().map(one).collect::<Result<_>>()?))
    }

    /// Why a difference is meant to be there, if it is.
    pub(crate) fn reason(&self, signature: &str) -> Option<&str> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(signature)).map(|(_, reason)| reason.as_str())
    }
}

/// Differences of one signature.
pub(crate) struct Group {
    pub(crate) count: usize,
    pub(crate) first: Finding,
}

/// All groups, in the order of their signatures.
pub(crate) type Groups = BTreeMap<String, Group>;

/// What differences have in common that are probably one: the verb, the kind, where, and how.
pub(crate) fn signature(catalogue: &Catalogue, finding: &Finding) -> String {
    let operation = &finding.operation;
    let about = about(catalogue, operation);
    let Some(first) = finding.differences.first() else { return about };
    let message = finding.differences.iter().find(|difference| difference.path == "/message");
    let said = message.map(|message| if message.oracle.is_null() { &message.kwick } else { &message.oracle });
    let said = said.map(shape).unwrap_or_default();
    match first.path.as_str() {
        "/status" => return format!("{about}: status {} not {} {said}", first.kwick, first.oracle),
        "/details/causes" => return format!("{about}: causes of {said}"),
        _ => {}
    }
    format!("{about}: {} {} not {}", shape_of_path(&first.path), shape(&first.kwick), shape(&first.oracle))
}

fn about(catalogue: &Catalogue, operation: &Operation) -> String {
    let plural = &catalogue.kinds[operation.key.kind].plural;
    match &operation.act {
        Act::Watch(_) | Act::Close(_) => format!("WATCH {plural}"),
        Act::Ask(ask) => {
            let on = match ask.on {
                On::Object("") => String::new(),
                On::Object(subresource) => format!("/{subresource}"),
                On::Collection | On::Everywhere => "[]".to_owned(),
            };
            let format = ask
                .content_type
                .split(['/', '+'])
                .nth(1)
                .filter(|_| ask.method == "PATCH")
                .map(|format| format!("{format} "));
            format!("{} {}{plural}{on}", ask.method, format.unwrap_or_default())
        }
    }
}

fn shape_of_path(path: &str) -> String {
    let mut pieces = Vec::new();
    for piece in path.split('/') {
        pieces.push(if piece.parse::<usize>().is_ok() { "*" } else { piece });
        if piece == "fieldsV1" {
            break;
        }
    }
    pieces.join("/")
}

fn shape(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
    text.chars().take(90).collect()
}

/// Prints one group and the operations that lead to it.
pub(crate) fn show(signature: &str, group: &Group, steps: &[Operation]) {
    let Finding { differences, wire, kwick, oracle, .. } = &group.first;
    println!("\n■ {signature}\n  {} times", group.count);
    println!(
        "  {} {} [{}] {}",
        wire.method,
        wire.path,
        wire.content_type,
        cut(wire.body.as_deref().unwrap_or(""), SHOWN)
    );
    for difference in differences.iter().take(4) {
        let value = |value: &Value| cut(&value.to_string(), SHOWN_OF_VALUE);
        println!("  {}: {} not {}", difference.path, value(&difference.kwick), value(&difference.oracle));
    }
    println!("  Kwick:          {}", cut(kwick, SHOWN));
    println!("  kube-apiserver: {}", cut(oracle, SHOWN));
    let indices: Vec<String> = steps.iter().map(|step| step.index.to_string()).collect();
    println!("  again: --steps {}", indices.join(","));
}

fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        text.to_owned()
    } else {
        text.chars().take(length).chain("…".chars()).collect()
    }
}
