//! Who writes what: one writer per field.
//!
//! Each reconciler declares its writes as data ([`crate::Reconciler::WRITES`]). The driver refuses a change of a kind that is not declared,
//! so the declaration is true, and [`markdown`] turns the declarations of a process into `docs/writers.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::key::GroupKind;

/// One thing that a controller writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The kind, such as `Deployment`. `*` stands for every kind (the owner garbage collector's deletions).
    pub kind: &'static str,
    /// What of it.
    pub what: What,
}

/// What a controller writes of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Whole objects: makes them, keeps them true, deletes them.
    Child,
    /// Some fields of objects that others make.
    Fields(&'static [&'static str]),
    /// Fields of the status.
    Status(&'static [&'static str]),
    /// A finalizer.
    Finalizer(&'static str),
    /// Only deletes.
    Deletion,
}

impl Write {
    /// Whole objects of a kind.
    pub const fn child(group: &'static str, kind: &'static str) -> Self {
        Self { group, kind, what: What::Child }
    }

    /// Some fields of a kind.
    pub const fn fields(group: &'static str, kind: &'static str, fields: &'static [&'static str]) -> Self {
        Self { group, kind, what: What::Fields(fields) }
    }

    /// Fields of a kind's status.
    pub const fn status(group: &'static str, kind: &'static str, fields: &'static [&'static str]) -> Self {
        Self { group, kind, what: What::Status(fields) }
    }

    /// A finalizer on a kind.
    pub const fn finalizer(group: &'static str, kind: &'static str, name: &'static str) -> Self {
        Self { group, kind, what: What::Finalizer(name) }
    }

    /// Deletions of a kind.
    pub const fn deletion(group: &'static str, kind: &'static str) -> Self {
        Self { group, kind, what: What::Deletion }
    }

    pub(crate) fn is_of(&self, kind: &GroupKind) -> bool {
        self.kind == "*" || (self.group == kind.group() && self.kind == kind.kind())
    }
}

/// A controller's name and what it writes.
pub type Declaration = (&'static str, &'static [Write]);

/// The table of all writers, by kind, for `docs/writers.md`.
pub fn markdown(declarations: &[Declaration]) -> String {
    let mut rows: BTreeMap<(&str, &str, String), Vec<&str>> = BTreeMap::new();
    for (controller, writes) in declarations {
        for write in *writes {
            for what in described(write.what) {
                rows.entry((write.group, write.kind, what)).or_default().push(controller);
            }
        }
    }
    let mut text = String::from("| kind | what | writer |\n|---|---|---|\n");
    for ((group, kind, what), controllers) in rows {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| {} | {what} | {} |", GroupKind::new(group, kind), controllers.join(", "));
    }
    text
}

/// The fields that more than one controller writes: what must not be.
pub fn conflicts(declarations: &[Declaration]) -> Vec<String> {
    let mut writers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (controller, writes) in declarations {
        for write in writes.iter().filter(|write| matches!(write.what, What::Fields(_) | What::Status(_))) {
            for what in described(write.what) {
                writers
                    .entry(format!("{} {what}", GroupKind::new(write.group, write.kind)))
                    .or_default()
                    .push(controller);
            }
        }
    }
    let shared = writers.into_iter().filter(|(_, controllers)| controllers.len() > 1);
    shared.map(|(field, controllers)| format!("{field}: {}", controllers.join(", "))).collect()
}

fn described(what: What) -> Vec<String> {
    match what {
        What::Child => vec!["the object".to_owned()],
        What::Fields(fields) => fields.iter().map(|field| format!("`{field}`")).collect(),
        What::Status(fields) => fields.iter().map(|field| format!("`status.{field}`")).collect(),
        What::Finalizer(name) => vec![format!("finalizer `{name}`")],
        What::Deletion => vec!["deletion".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARATIONS: &[Declaration] = &[
        (
            "deployment",
            &[Write::child("apps", "ReplicaSet"), Write::status("apps", "Deployment", &["replicas", "conditions"])],
        ),
        (
            "autoscaler",
            &[
                Write::fields("apps", "Deployment", &["spec.replicas"]),
                Write::status("apps", "Deployment", &["replicas"]),
            ],
        ),
    ];

    #[test]
    fn the_table_is_by_kind() {
        let expected = "| kind | what | writer |\n|---|---|---|\n\
            | Deployment.apps | `spec.replicas` | autoscaler |\n\
            | Deployment.apps | `status.conditions` | deployment |\n\
            | Deployment.apps | `status.replicas` | deployment, autoscaler |\n\
            | ReplicaSet.apps | the object | deployment |\n";
        assert_eq!(markdown(DECLARATIONS), expected);
    }

    #[test]
    fn two_writers_of_a_field_are_a_conflict() {
        assert_eq!(conflicts(DECLARATIONS), ["Deployment.apps `status.replicas`: deployment, autoscaler"]);
    }
}
