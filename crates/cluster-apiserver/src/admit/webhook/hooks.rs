//! Which webhooks there are: the stored configurations, compiled.
//!
//! A function of the store, as the registry is: it is brought up to date when it is asked and a configuration has changed since.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::conditions::Condition;
use crate::hooks::{ClientConfig, Place, ReviewVersion};
use crate::selector::LabelSelector;
use crate::store::{Revision, Store, TableName};
use crate::value::{i64_at, list_at, str_at, strings_at};

/// How long a webhook has that does not say, in seconds.
const TIMEOUT_S: u64 = 10;

/// One webhook of one configuration.
pub(super) struct Hook {
    pub(super) name: String,
    /// Tells it from all others.
    pub(super) id: String,
    pub(super) rules: Vec<Rule>,
    /// Whether it takes only the versions that its rules name.
    pub(super) is_exact: bool,
    /// `None` if it cannot be read.
    pub(super) namespaces: Option<LabelSelector>,
    pub(super) objects: Option<LabelSelector>,
    pub(super) conditions: Vec<Condition>,
    pub(super) may_fail: bool,
    /// Whether it may be asked of what is not carried out.
    pub(super) takes_dry_run: bool,
    pub(super) timeout: Duration,
    /// Whether it is asked again if others changed the object after it.
    pub(super) is_reinvoked: bool,
    pub(super) review: Option<ReviewVersion>,
    pub(super) client: Option<ClientConfig>,
}

/// What a webhook wants to see.
pub(super) struct Rule {
    pub(super) operations: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) versions: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) scope: String,
}

/// The webhooks of one of the two kinds of configurations.
pub(super) struct HookList {
    table: TableName,
    current: Mutex<(Revision, Arc<[Hook]>)>,
}

impl HookList {
    /// Those of the configurations of a plural name.
    pub(super) fn new(plural: &str) -> Self {
        let never = (Revision(u64::MAX), Arc::from([]));
        Self { table: TableName::new(plural, super::GROUP), current: Mutex::new(never) }
    }

    /// In the order of the configurations' names.
    pub(super) fn all(&self, store: &Store) -> Arc<[Hook]> {
        let revision = store.table_revision(&self.table);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != revision {
            // The revision was asked for before the list: if a write comes between the two, the next caller looks again.
            let configurations = store.list(&self.table, "").objects;
            let hooks = configurations.iter().flat_map(|stored| {
                let configuration: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
                compile(stored.key.name(), &configuration)
            });
            *current = (revision, hooks.collect());
        }
        Arc::clone(&current.1)
    }
}

fn compile(name: &str, configuration: &Value) -> Vec<Hook> {
    let hooks = list_at(configuration, &["webhooks"]).iter().enumerate();
    hooks.map(|(index, hook)| Hook::of(hook, format!("{name}/{index}"))).collect()
}

impl Hook {
    fn of(hook: &Value, id: String) -> Self {
        let text = |name: &str| str_at(hook, &[name]);
        let review = strings_at(hook, &["admissionReviewVersions"]).into_iter().find_map(ReviewVersion::of);
        let seconds = i64_at(hook, &["timeoutSeconds"]).and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            name: text("name").to_owned(),
            id,
            rules: list_at(hook, &["rules"]).iter().map(Rule::of).collect(),
            is_exact: text("matchPolicy") == "Exact",
            namespaces: LabelSelector::of_object(&hook["namespaceSelector"]),
            objects: LabelSelector::of_object(&hook["objectSelector"]),
            conditions: Condition::all(hook),
            may_fail: text("failurePolicy") == "Ignore",
            takes_dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds.unwrap_or(TIMEOUT_S)),
            is_reinvoked: text("reinvocationPolicy") == "IfNeeded",
            review,
            client: client_config(&hook["clientConfig"]),
        }
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let texts = |name: &str| strings_at(rule, &[name]).into_iter().map(str::to_owned).collect();
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: str_at(rule, &["scope"]).to_owned(),
        }
    }
}

/// Where a webhook is; `None` if its place cannot be read.
pub(crate) fn client_config(client: &Value) -> Option<ClientConfig> {
    let ca_bundle = STANDARD.decode(str_at(client, &["caBundle"])).ok()?;
    Some(ClientConfig { place: Place::of(client)?, ca_bundle: ca_bundle.into() })
}
