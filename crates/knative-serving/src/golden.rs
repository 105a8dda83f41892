//! Rows of data against which plans are held: `<kind>/testdata/*.yaml`.
//!
//! ```yaml
//! now: 2026-11-01T12:00:00Z
//! key: default/hello                 # unless a row says otherwise
//! config: {config-autoscaler: {initial-scale: "3"}}
//! objects: [ … ]                     # what every row starts from
//! library: {ready: { … }}            # objects, or parts of them, that rows take by name
//! rows:
//!   - name: what the row shows
//!     given: [ready, { … }]          # laid over those of the same kind, namespace and name (JSON merge patch), or added
//!     without: [Route default/hello] # objects that are not there
//!     facts: …                       # what the kind's test makes of it
//!     then: …                        # the plan; null if there is none
//! ```
//! `UPDATE_GOLDEN=1` writes the plans that come out into the files; the difference is then read by a person.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base_controller::Key;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caches::Caches;
use crate::config::Configs;

type Data = BTreeMap<String, BTreeMap<String, String>>;

/// One file of rows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    now: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    config: Data,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    objects: Vec<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    library: BTreeMap<String, Value>,
    rows: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    now: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    config: Data,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    given: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    without: Vec<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    facts: Value,
    #[serde(default)]
    then: Value,
}

/// What a row gives to a plan.
pub(crate) struct Given {
    pub(crate) caches: Caches,
    pub(crate) configs: Configs,
    pub(crate) key: Key,
    pub(crate) now: Timestamp,
    pub(crate) facts: Value,
}

/// Holds every row of `src/<folder>/testdata/*.yaml` against what `plan` makes of it.
pub(crate) fn check<P: Serialize>(folder: &str, plan: impl Fn(&Given) -> Option<P>) {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = Vec::new();
    for path in files(folder) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let mut file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let (shared, mut rows) = (Shared::of(&file), std::mem::take(&mut file.rows));
        for row in &mut rows {
            let plan =
                plan(&given(&shared, row)).map(|plan| serde_json::to_value(plan).expect("a plan has a JSON form"));
            let outcome = plan.unwrap_or(Value::Null);
            if is_update {
                row.then = outcome;
            } else if row.then != outcome {
                let shown = serde_saphyr::to_string(&outcome).expect("YAML");
                failures.push(format!("{}: {}\n{shown}", path.display(), row.name));
            }
        }
        file.rows = rows;
        if is_update {
            std::fs::write(&path, serde_saphyr::to_string(&file).expect("YAML")).expect("a writable file");
        }
    }
    assert!(failures.is_empty(), "plans are others than written (UPDATE_GOLDEN=1 rewrites):\n{}", failures.join("\n"));
}

fn files(folder: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).join("testdata");
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "no rows in {directory:?}");
    paths
}

/// What the rows of a file share.
struct Shared {
    now: String,
    key: String,
    config: Data,
    objects: Vec<Value>,
    library: BTreeMap<String, Value>,
}

impl Shared {
    fn of(file: &File) -> Self {
        let File { now, key, config, objects, library, .. } = file;
        let (now, key, config) = (now.clone(), key.clone(), config.clone());
        Self { now, key, config, objects: objects.clone(), library: library.clone() }
    }

    /// An object of a row: itself, or what the library has under its name.
    fn object<'a>(&'a self, given: &'a Value) -> &'a Value {
        match given {
            Value::String(name) => self.library.get(name).unwrap_or_else(|| panic!("{name} is not in the library")),
            object => object,
        }
    }
}

fn given(shared: &Shared, row: &Row) -> Given {
    let or = |own: &String, shared: &String| if own.is_empty() { shared.clone() } else { own.clone() };
    let mut objects = shared.objects.clone();
    objects.retain(|object| !row.without.contains(&identity(object)));
    for object in row.given.iter().map(|given| shared.object(given)) {
        match objects.iter_mut().find(|known| identity(known) == identity(object)) {
            Some(known) => merge(known, object),
            None => objects.push(object.clone()),
        }
    }
    let mut config = shared.config.clone();
    for (name, data) in &row.config {
        config.entry(name.clone()).or_default().extend(data.clone());
    }
    let key = or(&row.key, &shared.key);
    let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
    Given {
        caches: Caches::fixed(&objects),
        configs: Configs::of(&config),
        key: Key::new(namespace, name),
        now: or(&row.now, &shared.now).parse().expect("a time"),
        facts: row.facts.clone(),
    }
}

/// `Kind namespace/name`; core kinds that share a name with Knative's are `core/Kind …`.
fn identity(object: &Value) -> String {
    let meta = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let core = if object["apiVersion"] == "v1" { "core/" } else { "" };
    format!("{core}{} {}/{}", text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]))
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
