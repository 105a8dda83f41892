//! The status of a CRD: its conditions, and the names that it got.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::definition::Names;
use crate::core::time_text;
use crate::value::{as_object, child_mut, list_at, object_at, str_at, strings_at};

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
    let (accepted, conflict) = settle_names(&crd, others);
    object_at(&mut crd, &["status"]).insert("acceptedNames".to_owned(), accepted);
    let is_accepted = conflict.is_none();
    let (status, reason, message) = match conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => ("False", reason, message),
    };
    set_condition(&mut crd, now, &Condition { kind: "NamesAccepted", status, reason, message });
    if !super::has_condition(&crd, "Established") {
        let (status, reason, message) = match is_accepted {
            true => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
            false => ("False", "NotAccepted", "not all names are accepted"),
        };
        set_condition(&mut crd, now, &Condition { kind: "Established", status, reason, message: message.to_owned() });
    }
    if let Some(approval) = super::validate::approval_condition(&crd) {
        set_condition(&mut crd, now, &approval);
    }
    crd
}

/// The status of a CRD whose instances are being deleted.
pub(super) fn ending(crd: &Value, now: Timestamp) -> Value {
    let mut crd = crd.clone();
    let (reason, message) = ("InstanceDeletionInProgress", "CustomResource deletion is in progress".to_owned());
    set_condition(&mut crd, now, &Condition { kind: "Terminating", status: "True", reason, message });
    crd
}

/// The names that the CRD gets: those it asks for, but where another has one, what it had before. And the last that it does not get.
fn settle_names(crd: &Value, others: &[Names]) -> (Value, Option<(&'static str, String)>) {
    let (asked, before) = (&crd["spec"]["names"], &crd["status"]["acceptedNames"]);
    let is_resource = |name: &str| {
        let holds = |other: &Names| {
            other.plural == name || other.singular == name || other.short_names.iter().any(|short| short == name)
        };
        others.iter().any(holds)
    };
    let is_kind = |kind: &str| others.iter().any(|other| other.kind == kind || other.list_kind == kind);
    let (mut accepted, mut conflict) = (asked.clone(), None);
    let mut keep = |accepted: &mut Value, name: &str, reason, text: String| {
        let accepted = as_object(accepted);
        match before.get(name) {
            Some(before) => accepted.insert(name.to_owned(), before.clone()),
            // The API always names these two.
            None if matches!(name, "plural" | "kind") => accepted.insert(name.to_owned(), "".into()),
            None => accepted.remove(name),
        };
        conflict = Some((reason, text));
    };
    let rows = [
        ("plural", "PluralConflict", false),
        ("singular", "SingularConflict", false),
        ("shortNames", "ShortNamesConflict", false),
        ("kind", "KindConflict", true),
        ("listKind", "ListKindConflict", true),
    ];
    for (name, reason, names_kind) in rows {
        let own = strings_at(before, &[name]);
        let names = match asked.get(name) {
            Some(Value::Array(_)) => strings_at(asked, &[name]),
            _ => vec![str_at(asked, &[name])],
        };
        let is_new = |asked: &&str| !asked.is_empty() && *asked != str_at(before, &[name]) && !own.contains(asked);
        let taken: Vec<String> = names
            .into_iter()
            .filter(|asked| is_new(asked) && if names_kind { is_kind(asked) } else { is_resource(asked) })
            .map(|taken| format!("\"{taken}\" is already in use"))
            .collect();
        match taken.as_slice() {
            [] => {}
            [one] => keep(&mut accepted, name, reason, one.clone()),
            many => keep(&mut accepted, name, reason, format!("[{}]", many.join(", "))),
        }
    }
    (accepted, conflict)
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
        assert_eq!(second["status"]["conditions"][0]["reason"], "ListKindConflict");
        assert_eq!(second["status"]["conditions"][1]["status"], "False");
        assert_eq!(second["status"]["acceptedNames"], json!({"plural": "bars", "kind": ""}));
        let builtin = Names { kind: "Bar".into(), ..Names::default() };
        let third = desired(&crd("bars", "Bar"), &[builtin], now);
        assert_eq!(third["status"]["conditions"][0]["reason"], "KindConflict");
    }

    #[test]
    fn a_name_that_is_taken_later_stays_what_it_was() {
        let now = "2024-01-01T00:00:00Z".parse().expect("time");
        let mut settled = desired(&crd("foos", "Foo"), &[], now);
        settled["spec"]["names"]["shortNames"] = json!(["a", "b", "c"]);
        let other = Names { short_names: vec!["a".into(), "c".into()], ..Names::default() };
        let settled = desired(&settled, &[other], now);
        let names = &settled["status"]["conditions"][0];
        assert_eq!(names["message"], "[\"a\" is already in use, \"c\" is already in use]");
        assert!(settled["status"]["acceptedNames"].get("shortNames").is_none());
        assert!(super::super::has_condition(&settled, "Established"), "it goes on being served");
    }

    #[test]
    fn kinds_of_the_community_s_groups_say_who_approved_them() {
        let now = "2024-01-01T00:00:00Z".parse().expect("time");
        let of = |approval: &str| {
            let mut crd = crd("foos", "Foo");
            crd["spec"]["group"] = json!("x.k8s.io");
            crd["metadata"] = json!({"annotations": {"api-approved.kubernetes.io": approval}});
            let condition = desired(&crd, &[], now)["status"]["conditions"][2].clone();
            assert_eq!(condition["type"], "KubernetesAPIApprovalPolicyConformant");
            (condition["status"].clone(), condition["reason"].clone(), condition["message"].clone())
        };
        assert_eq!(
            of("https://a.b/c"),
            (json!("True"), json!("ApprovedAnnotation"), json!("approved in https://a.b/c"))
        );
        assert_eq!(
            of("unapproved, x"),
            (json!("False"), json!("UnapprovedAnnotation"), json!("not approved: \"unapproved, x\""))
        );
        assert_eq!(of("").1, "MissingAnnotation");
    }
}
