//! Rows of reconcilers' tests: objects given, a time, and the plan that follows, as YAML beside the code.
//!
//! `UPDATE_GOLDEN=1 cargo test -p cluster-workloads` writes what came out into the files instead of comparing it.

use std::path::PathBuf;
use std::sync::Arc;

use base_controller::{GroupKind, Object};
use base_rt::Timestamp;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

const NOW: &str = "2026-01-01T00:00:00Z";

/// One case.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    case: String,
    #[serde(default = "default_now")]
    pub(crate) now: Timestamp,
    #[serde(default)]
    pub(crate) config: Value,
    given: Vec<Value>,
    #[serde(default)]
    then: Value,
}

fn default_now() -> Timestamp {
    NOW.parse().unwrap()
}

impl Row {
    /// A case without an expectation.
    pub(crate) fn of(given: Vec<Value>) -> Self {
        Self { case: String::new(), now: default_now(), config: Value::Null, given, then: Value::Null }
    }

    /// The row as YAML: an object or change is one line.
    fn text(&self) -> String {
        let line = |value: &Value| serde_json::to_string(value).unwrap();
        let list = |indent: &str, values: &[Value]| -> String {
            values.iter().map(|value| format!("{indent}- {}\n", line(value))).collect()
        };
        let mut text = format!("- case: {:?}\n  now: {}\n", self.case, self.now);
        if !self.config.is_null() {
            text += &format!("  config: {}\n", line(&self.config));
        }
        text += &format!("  given:\n{}  then:\n", list("    ", &self.given));
        for (name, value) in self.then.as_object().expect("a plan is an object") {
            text += &match value {
                Value::Array(values) if !values.is_empty() => format!("    {name}:\n{}", list("      ", values)),
                value => format!("    {name}: {}\n", line(value)),
            };
        }
        text
    }

    /// Every object of a kind.
    pub(crate) fn all<K: Object + Resource<DynamicType = ()>>(&self) -> Vec<Arc<K>> {
        let kind = GroupKind::of::<K>();
        let is_of = |object: &&Value| {
            let api_version = object["apiVersion"].as_str().expect("an object has an apiVersion");
            object["kind"] == kind.kind() && api_version.split_once('/').map_or("", |(group, _)| group) == kind.group()
        };
        let decode = |object: &Value| {
            let decoded = serde_json::from_value(object.clone());
            Arc::new(decoded.unwrap_or_else(|error| panic!("{}: {error}: {object}", self.case)))
        };
        self.given.iter().filter(is_of).map(decode).collect()
    }

    /// The first object of a kind.
    pub(crate) fn one<K: Object + Resource<DynamicType = ()>>(&self) -> Arc<K> {
        self.all().into_iter().next().unwrap_or_else(|| panic!("{}: no {}", self.case, K::kind(&())))
    }
}

/// The cases of one file.
#[derive(Debug)]
pub(crate) struct Rows {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Rows {
    /// The rows of a file, by its path within the crate.
    pub(crate) fn load(path: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let rows = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, rows }
    }

    /// Compares what `plan` makes of each row with the row, or writes it down.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests decides, by the environment")]
    pub(crate) fn check(mut self, plan: impl Fn(&Row) -> Value) {
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            for row in &mut self.rows {
                row.then = plan(row);
            }
            let text: String = self.rows.iter().map(Row::text).collect();
            std::fs::write(&self.path, text).unwrap();
            return;
        }
        for row in &self.rows {
            let planned = plan(row);
            let shown = || serde_json::to_string_pretty(&planned).unwrap();
            assert_eq!(planned, row.then, "{}: {}\n{}", self.path.display(), row.case, shown());
        }
    }
}
