//! `metadata.managedFields`: who owns which fields of an object, and since when.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::lazy::LazySet;
use super::set::FieldSet;
use crate::value::{list_at, str_at};

/// So many managers that only update are told apart; the oldest of more become one.
const MAX_UPDATERS: usize = 10;
/// Whom the oldest become.
const OLD_UPDATERS: &str = "ancient-changes";
/// Who is named if nobody is.
const UNKNOWN: &str = "unknown";

/// What a manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Whose entry it is. Whoever applies has one entry, in whatever version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    /// Empty for who applies.
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

impl Manager {
    fn order(&self) -> impl Ord {
        (&self.name, self.operation, &self.api_version, self.subresource.is_empty(), &self.subresource)
    }

    /// The manager of a write.
    pub(crate) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            name: if name.is_empty() { UNKNOWN } else { name }.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

/// The order in which conflicts name them: of one name and operation, the object itself comes after its subresources.
impl Ord for Manager {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Manager {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As conflicts name them.
impl std::fmt::Display for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::field_error::quote(&self.name))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", crate::field_error::quote(&self.subresource))?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) set: LazySet,
    /// The version that the fields are of.
    pub(crate) api_version: String,
    /// When it last took or gave up fields, RFC 3339.
    pub(crate) time: Option<String>,
}

impl Owned {
    /// Nothing yet.
    pub(crate) fn nothing(api_version: &str) -> Self {
        Self { set: FieldSet::default().into(), api_version: api_version.to_owned(), time: None }
    }
}

/// The managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managed(pub(crate) BTreeMap<Manager, Owned>);

/// Why managedFields cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(String);

impl Managed {
    /// Reads a list that anybody may have written.
    ///
    /// # Errors
    /// An entry is not of its form.
    pub(crate) fn parse(list: &Value) -> Result<Self, Unreadable> {
        let managed = Self::read(list.clone())?;
        let read = |(manager, owned): (Manager, Owned)| {
            let set = match owned.set {
                LazySet::Unread(fields) => FieldSet::parse(&fields),
                LazySet::Read(set) => Ok(set),
            };
            let set = set.map_err(|error| Unreadable(format!("error decoding set: {error}")))?;
            Ok((manager, Owned { set: set.into(), ..owned }))
        };
        managed.0.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Reads the list of an object of the store, whose sets are read when they are needed. What is not of its form is no list.
    pub(crate) fn stored(list: Value) -> Self {
        Self::read(list).unwrap_or_default()
    }

    fn read(list: Value) -> Result<Self, Unreadable> {
        let mut managed = BTreeMap::new();
        let Value::Array(entries) = list else { return Ok(Self(managed)) };
        for (index, mut entry) in entries.into_iter().enumerate() {
            let operation = match str_at(&entry, &["operation"]) {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(Unreadable("operation must be `Apply` or `Update`".to_owned())),
            };
            let api_version = str_at(&entry, &["apiVersion"]).to_owned();
            if api_version.is_empty() {
                return Err(Unreadable("apiVersion must not be empty".to_owned()));
            }
            match str_at(&entry, &["fieldsType"]) {
                "FieldsV1" => {}
                "" => return Err(Unreadable(format!("missing fieldsType in managed fields entry {index}"))),
                other => {
                    let other = crate::field_error::quote(other);
                    return Err(Unreadable(format!("invalid fieldsType {other} in managed fields entry {index}")));
                }
            }
            let manager = Manager {
                name: str_at(&entry, &["manager"]).to_owned(),
                operation,
                api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
                subresource: str_at(&entry, &["subresource"]).to_owned(),
            };
            let time = Some(str_at(&entry, &["time"])).filter(|time| !time.is_empty()).map(str::to_owned);
            let set = LazySet::Unread(entry.get_mut("fieldsV1").map(Value::take).unwrap_or_default());
            managed.insert(manager, Owned { set, api_version, time });
        }
        Ok(Self(managed))
    }

    /// The list of an object; `None` if nobody manages it.
    pub(crate) fn into_value(self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<(Manager, Owned)> = self.0.into_iter().collect();
        entries.sort_by(|(a, of_a), (b, of_b)| rank(a, of_a).cmp(&rank(b, of_b)));
        Some(Value::Array(entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect()))
    }

    /// The managers as they are listed.
    pub(crate) fn order(&self) -> Vec<Manager> {
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, of_a), (b, of_b)| rank(a, of_a).cmp(&rank(b, of_b)));
        entries.into_iter().map(|(manager, _)| manager.clone()).collect()
    }

    /// Merges the oldest of too many managers that only update.
    pub(crate) fn cap(&mut self) {
        let updaters = self.0.iter().filter(|(manager, _)| manager.operation == Operation::Update);
        let mut updaters: Vec<(Option<String>, Manager)> =
            updaters.map(|(manager, owned)| (owned.time.clone(), manager.clone())).collect();
        updaters.sort();
        let mut excess = updaters.len().saturating_sub(MAX_UPDATERS);
        let mut first_of: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, manager) in updaters {
            if excess == 0 {
                return;
            }
            let Some(version) = self.0.get(&manager).map(|owned| owned.api_version.clone()) else { continue };
            let Some(first) = first_of.get(&version) else {
                first_of.insert(version, manager);
                continue;
            };
            let bucket = Manager::new(OLD_UPDATERS, Operation::Update, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if bucket != manager
                && let Some(newer) = self.0.remove(&manager)
                && let Some(bucket) = self.0.get_mut(&bucket)
            {
                bucket.set = bucket.set.get().union(&newer.set.get()).into();
                bucket.time = newer.time;
            }
            excess -= 1;
        }
    }
}

/// The place of an entry in the list.
fn rank(manager: &Manager, owned: &Owned) -> impl Ord {
    (manager.operation, owned.time.as_deref(), &manager.name, &owned.api_version, &manager.subresource)
}

fn entry(manager: Manager, owned: Owned) -> Value {
    let mut entry = Map::new();
    let mut text = |name: &str, value: String| {
        if !value.is_empty() {
            entry.insert(name.to_owned(), value.into());
        }
    };
    text("manager", manager.name);
    text("operation", manager.operation.as_str().to_owned());
    text("apiVersion", owned.api_version);
    text("time", owned.time.unwrap_or_default());
    text("fieldsType", "FieldsV1".to_owned());
    text("subresource", manager.subresource);
    entry.insert("fieldsV1".to_owned(), owned.set.into_value());
    Value::Object(entry)
}

/// Whether a list says that nobody manages the object any more: `[{}]`, or a list without entries.
pub(crate) fn is_reset(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([entry]) => entry.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Whether two lists differ in times at most.
pub(crate) fn is_same_but_times(a: &Value, b: &Value) -> bool {
    let (a, b) = (list_at(a, &[]), list_at(b, &[]));
    let is_same = |a: &Value, b: &Value| {
        let fields = |entry: &Value| entry.as_object().map_or(0, |entry| entry.keys().filter(|k| *k != "time").count());
        let equal = |(name, value): (&String, &Value)| name == "time" || b.get(name) == Some(value);
        fields(a) == fields(b) && a.as_object().into_iter().flatten().all(equal)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry_of(manager: &str, operation: &str, time: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": time,
               "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn entries_are_in_order() {
        let list = json!([
            entry_of("b", "Update", "2024-01-01T00:00:00Z", json!({"f:a": {}})),
            entry_of("a", "Update", "2024-01-02T00:00:00Z", json!({"f:b": {}})),
            entry_of("c", "Apply", "2024-01-03T00:00:00Z", json!({"f:c": {}})),
        ]);
        let sorted = Managed::parse(&list).expect("list").into_value().expect("entries");
        assert_eq!(sorted, json!([list[2], list[0], list[1]]));
        assert_eq!(Managed::parse(&sorted).expect("list").into_value(), Some(sorted));
        assert_eq!(Managed::parse(&Value::Null), Ok(Managed::default()));
        assert_eq!(Managed::default().into_value(), None);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for (entry, why) in [
            (json!({"operation": "Delete"}), "operation must be `Apply` or `Update`"),
            (json!({"operation": "Apply"}), "apiVersion must not be empty"),
            (json!({"operation": "Apply", "apiVersion": "v1"}), "missing fieldsType in managed fields entry 0"),
            (
                json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV2"}),
                "invalid fieldsType \"FieldsV2\" in managed fields entry 0",
            ),
            (
                json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f": {}}}),
                "error decoding set: \"f\": key must be 2 characters long",
            ),
        ] {
            assert_eq!(Managed::parse(&json!([entry])), Err(Unreadable(why.to_owned())));
        }
    }

    #[test]
    fn the_oldest_of_many_updaters_become_one() {
        let time = |day: usize| format!("2024-01-{day:02}T00:00:00Z");
        let field = |n: usize| format!("f:{n}");
        let entries = (1..=12).map(|n| entry_of(&format!("m{n}"), "Update", &time(n), json!({field(n): {}}))).collect();
        let mut managed = Managed::parse(&Value::Array(entries)).expect("list");
        managed.cap();
        assert_eq!(managed.0.len(), 10);
        let bucket = Manager::new(OLD_UPDATERS, Operation::Update, "v1", "");
        let merged = managed.0.get(&bucket).expect("bucket");
        assert_eq!(merged.set.clone().into_value(), json!({"f:1": {}, "f:2": {}, "f:3": {}}));
        assert_eq!(merged.time, Some(time(3)));
        let before = managed.clone();
        managed.cap();
        assert_eq!(managed, before);
    }

    #[test]
    fn times_alone_are_no_difference() {
        let list = |time: &str, field: &str| json!([entry_of("m", "Update", time, json!({field: {}}))]);
        assert!(is_same_but_times(&list("2024-01-01T00:00:00Z", "f:a"), &list("2024-01-02T00:00:00Z", "f:a")));
        assert!(!is_same_but_times(&list("2024-01-01T00:00:00Z", "f:a"), &list("2024-01-01T00:00:00Z", "f:b")));
        assert!(!is_same_but_times(&json!([]), &list("", "f:a")));
        assert!(is_reset(&json!([])) && is_reset(&json!([{}])));
        assert!(!is_reset(&Value::Null) && !is_reset(&list("", "f:a")));
    }
}
