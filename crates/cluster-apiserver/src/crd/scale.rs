//! Where the scale subresource finds its values, and what those may be.

use serde_json::Value;

use super::json_path;
use crate::field_error::{FieldError, FieldPath};
use crate::value::go_text;

/// Paths of fields, such as `.spec.replicas`.
#[derive(Clone, Debug)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    /// Empty if there is none.
    pub(crate) selector: String,
}

impl ScalePaths {
    /// Checks that an object has what a scale can show; of a write to the status alone, what it shows of that.
    pub(super) fn check(&self, object: &Value, is_status: bool, errors: &mut Vec<FieldError>) {
        for path in [&self.spec_replicas, &self.status_replicas].into_iter().skip(usize::from(is_status)) {
            let field = FieldPath::Root.child(path);
            if let Some((place, value)) = not_an_object(object, path) {
                errors.push(FieldError::invalid(&field, 0, &wrong_type(&place, value, "map[string]interface{}")));
                continue;
            }
            let Some(value) = json_path::find(object, path).into_iter().next() else { continue };
            match value.as_i64() {
                None => errors.push(FieldError::invalid(&field, 0, &wrong_type(path, value, "int64"))),
                Some(count) if count < 0 => {
                    errors.push(FieldError::invalid(&field, count, "should be a non-negative integer"));
                }
                Some(count) if count > i64::from(i32::MAX) => {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(&field, count, &why));
                }
                Some(_) => {}
            }
        }
        if self.selector.is_empty() {
            // That would be the path of the object.
            return;
        }
        let selector = json_path::find(object, &self.selector).into_iter().next().filter(|value| !value.is_string());
        if let Some(value) = selector {
            let field = FieldPath::Root.child(&self.selector);
            errors.push(FieldError::invalid(&field, "", &wrong_type(&self.selector, value, "string")));
        }
    }
}

/// What on the way to a field is no object, and the path of the field below it.
fn not_an_object<'v>(object: &'v Value, path: &str) -> Option<(String, &'v Value)> {
    let mut value = object;
    let mut place = String::new();
    for name in json_path::fields(path)? {
        place = format!("{place}.{name}");
        match value {
            Value::Object(fields) => value = fields.get(&name)?,
            Value::Null => return None,
            other => return Some((place, other)),
        }
    }
    None
}

fn wrong_type(path: &str, value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!("{path} accessor error: {} is of the type {found}, expected {wanted}", go_text(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_scale_shows_counts() {
        let check = |selector: &str, object: Value, is_status: bool| {
            let paths = ScalePaths {
                spec_replicas: ".spec.n".to_owned(),
                status_replicas: ".status.n".to_owned(),
                selector: selector.to_owned(),
            };
            let mut errors = Vec::new();
            paths.check(&object, is_status, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let found = |object| check(".status.s", object, false);
        assert_eq!(found(json!({"spec": {"n": 1}, "status": {"n": 0, "s": "a=b"}})), "");
        assert_eq!(check("", json!({"spec": {"n": 1}}), false), "");
        assert_eq!(
            found(json!({"spec": {"n": "str"}, "status": {"n": -1, "s": 1}})),
            ".spec.n: Invalid value: 0: .spec.n accessor error: str is of the type string, expected int64; \
             .status.n: Invalid value: -1: should be a non-negative integer; \
             .status.s: Invalid value: \"\": .status.s accessor error: 1 is of the type int64, expected string"
        );
        assert_eq!(
            found(json!({"spec": [1, "x"]})),
            ".spec.n: Invalid value: 0: .spec.n accessor error: [1 x] is of the type []interface {}, expected map[string]interface{}"
        );
        assert_eq!(check(".status.s", json!({"spec": {"n": "str"}}), true), "", "of a status");
        assert!(
            found(json!({"spec": {"n": 3_000_000_000_u32}})).contains("should be less than or equal to 2147483647")
        );
    }
}
