//! The status of a CRD: its conditions, and the names that it got.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::definition::Names;
use crate::core::time_text;
use crate::value::{child_mut, list_at, object_at, str_at};

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Sets a condition; the time of its transition changes with its status alone.
pub(crate) fn set_condition(crd: &mut Value, now: Timestamp, condition: &Condition) {
    let mut conditions = list_at(crd, &["status", "conditions"]).to_vec();
    let mut new = json!({
        "type": condition.kind, "status": condition.status, "lastTransitionTime": time_text(now),
        "reason": condition.reason, "message": condition.message,
    });
    match conditions.iter_mut().find(|present| str_at(present, &["type"]) == condition.kind) {
        Some(present) => {
            if str_at(present, &["status"]) == condition.status {
                *child_mut(&mut new, "lastTransitionTime") = present["lastTransitionTime"].clone();
            }
            *present = new;
        }
        None => conditions.push(new),
    }
    object_at(crd, &["status"]).insert("conditions".to_owned(), conditions.into());
}

/// The status that a CRD should have, given what `others` of its group hold.
pub(super) fn desired(crd: &Value, others: &[Names], now: Timestamp) -> Value {
    let mut crd = crd.clone();
    let names = Names::of(&crd);
    let conflict = find_conflict(&names, others);
    let accepted = match &conflict {
        None => Condition {
            kind: "NamesAccepted",
            status: "True",
            reason: "NoConflicts",
            message: "no conflicts found".to_owned(),
        },
        Some((reason, message)) => {
            Condition { kind: "NamesAccepted", status: "False", reason, message: message.clone() }
        }
    };
    set_condition(&mut crd, now, &accepted);
    if conflict.is_none() {
        let asked = crd["spec"]["names"].clone();
        object_at(&mut crd, &["status"]).insert("acceptedNames".to_owned(), asked);
        let message = "the initial names have been accepted".to_owned();
        let established = Condition { kind: "Established", status: "True", reason: "InitialNamesAccepted", message };
        if !super::has_condition(&crd, "Established") {
            set_condition(&mut crd, now, &established);
        }
    } else if !super::has_condition(&crd, "Established") {
        let message = "not all names are accepted".to_owned();
        let pending = Condition { kind: "Established", status: "False", reason: "NotAccepted", message };
        set_condition(&mut crd, now, &pending);
    }
    crd
}

/// The first of the CRD's names that is taken.
fn find_conflict(names: &Names, others: &[Names]) -> Option<(&'static str, String)> {
    let is_taken = |name: &str| {
        let holds = |other: &Names| {
            other.plural == name || other.singular == name || other.short_names.iter().any(|short| short == name)
        };
        !name.is_empty() && others.iter().any(holds)
    };
    let is_kind_taken = |kind: &str| others.iter().any(|other| other.kind == kind || other.list_kind == kind);
    let taken = |name: &str| format!("\"{name}\" is already in use");
    if is_taken(&names.plural) {
        return Some(("PluralConflict", taken(&names.plural)));
    }
    if is_taken(&names.singular) {
        return Some(("SingularConflict", taken(&names.singular)));
    }
    if let Some(short) = names.short_names.iter().find(|short| is_taken(short)) {
        return Some(("ShortNamesConflict", taken(short)));
    }
    if is_kind_taken(&names.kind) {
        return Some(("KindConflict", taken(&names.kind)));
    }
    is_kind_taken(&names.list_kind).then(|| ("ListKindConflict", taken(&names.list_kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str) -> Value {
        json!({"spec": {"group": "g.io", "scope": "Namespaced", "names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
        }}})
    }

    #[test]
    fn names_are_accepted_unless_another_has_them() {
        let now = "2024-01-01T00:00:00Z".parse().expect("time");
        let first = desired(&crd("foos", "Foo"), &[], now);
        assert!(super::super::has_condition(&first, "Established"));
        assert_eq!(first["status"]["acceptedNames"]["plural"], "foos");
        let later = "2024-01-01T00:00:09Z".parse().expect("time");
        assert_eq!(desired(&first, &[], later), first, "nothing changes when nothing has changed");
        let second = desired(&crd("bars", "Foo"), &[Names::of(&first)], now);
        assert_eq!(second["status"]["conditions"][0]["reason"], "SingularConflict");
        assert_eq!(second["status"]["conditions"][1]["status"], "False");
        assert!(second["status"].get("acceptedNames").is_none());
        let builtin = Names { kind: "Bar".into(), ..Names::default() };
        let third = desired(&crd("bars", "Bar"), &[builtin], now);
        assert_eq!(third["status"]["conditions"][0]["reason"], "KindConflict");
    }
}
