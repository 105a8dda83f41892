//! Who may do what: the bindings of roles.

use serde_json::Value;

use super::{AGE, NAME, Printer, name, object_age, text};
use crate::value::{list_at, str_at};

pub(super) const BINDING: Printer = Printer {
    columns: &[NAME, text("Role"), AGE, text("Users").wide(), text("Groups").wide(), text("ServiceAccounts").wide()],
    cells: |object, now| {
        let role = format!("{}/{}", str_at(object, &["roleRef", "kind"]), str_at(object, &["roleRef", "name"]));
        vec![
            name(object),
            role.into(),
            object_age(object, now),
            subjects(object, "User").into(),
            subjects(object, "Group").into(),
            subjects(object, "ServiceAccount").into(),
        ]
    },
};

fn subjects(binding: &Value, kind: &str) -> String {
    let subjects = list_at(binding, &["subjects"]).iter().filter(|subject| str_at(subject, &["kind"]) == kind);
    let names = subjects.map(|subject| match (kind, str_at(subject, &["name"])) {
        ("ServiceAccount", name) => format!("{}/{name}", str_at(subject, &["namespace"])),
        (_, name) => name.to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}
