//! Match conditions: expressions that a request must meet.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    cel::{Program, Wanted},
    field_error::{FieldError, FieldPath},
    kinds::check::{Errors, texts},
    names,
    value::str_at,
};

/// There may be so many.
const MAX_CONDITIONS: usize = 64;

/// Checks a list of conditions.
pub(super) fn validate(conditions: &[Value], path: &FieldPath<'_>, errors: &mut Errors) {
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let item = path.index(index);
        let (name, field) = (str_at(condition, &["name"]), item.child("name"));
        validate_expression(str_at(condition, &["expression"]).trim(), &item.child("expression"), errors);
        match name {
            "" => errors.push(FieldError::required(&field, "")),
            name => texts(&field, name, names::qualified_name(name), errors),
        }
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&field, name));
        }
    }
}

fn validate_expression(expression: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if expression.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if let Err(why) = Program::about_request(expression, Wanted::Truth) {
        errors.push(FieldError::invalid(path, expression, &why.told(Wanted::Truth)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(conditions: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        validate(conditions.as_array().expect("list"), &FieldPath::Root.child("m"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn conditions_are_checked_in_kubernetes_words() {
        let fine = json!({"name": "a.b/c", "expression": " request.operation == 'CREATE' && object.x.y > 1 "});
        assert_eq!(found(&json!([fine])), [""; 0]);
        assert_eq!(
            found(
                &json!([{"name": "", "expression": " "}, {"name": "a", "expression": "true"}, {"name": "a", "expression": "1"}])
            ),
            [
                "m[0].expression: Required value",
                "m[0].name: Required value",
                "m[2].expression: Invalid value: \"1\": must evaluate to bool but got int",
                "m[2].name: Duplicate value: \"a\"",
            ]
        );
        assert_eq!(
            found(&json!([{"name": "a", "expression": "nope"}])),
            [
                "m[0].expression: Invalid value: \"nope\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope\n | ^"
            ]
        );
        let many: Vec<Value> = (0..65).map(|n| json!({"name": format!("n{n}"), "expression": "true"})).collect();
        assert_eq!(found(&json!(many)), ["m: Too many: 65: must have at most 64 items"]);
        assert!(
            found(&json!([{"name": "a b", "expression": "true"}]))[0].starts_with("m[0].name: Invalid value: \"a b\"")
        );
    }
}
