//! JSON patch, one operation after the other and within bounds: what an operation carries from one place to another is measured before.
//!
//! A few copies, each of what the ones before have made, would otherwise fill the memory, and a few moves nest an object deeper than any
//! reader's stack. Which bound was met is not told, as in Kubernetes.

use std::borrow::Cow;
use std::slice;

use json_patch::jsonptr::Pointer;
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

use crate::strict::MAX_VALUES;
use crate::value::{MAX_DEPTH, is_deeper_than};

/// All operations of a patch together may carry so many bytes of JSON: Kubernetes' bound for copies.
const MAX_CARRIED_BYTES: usize = 3 << 20;

/// The patch does not fit the object, or goes beyond a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON patch cannot be applied")]
pub(crate) struct Unfit;

/// Lays `patch` over `object`.
///
/// # Errors
/// An operation does not fit, or goes beyond a bound.
pub(crate) fn apply(object: &Value, patch: &Patch) -> Result<Value, Unfit> {
    let mut object = object.clone();
    let mut room = Room { bytes: MAX_CARRIED_BYTES, values: MAX_VALUES };
    for operation in patch.iter() {
        room.check(&object, operation)?;
        let operation = of_kubernetes(&object, operation);
        if is_test_of_absence(&object, operation.as_ref()) {
            continue;
        }
        json_patch::patch_unsafe(&mut object, slice::from_ref(&*operation)).map_err(|_| Unfit)?;
    }
    Ok(object)
}

/// The operation as kube-apiserver carries it out: a field may be replaced that is not there.
fn of_kubernetes<'a>(object: &Value, operation: &'a PatchOperation) -> Cow<'a, PatchOperation> {
    if let PatchOperation::Replace(ReplaceOperation { path, value }) = operation
        && lacks(object, path)
    {
        return Cow::Owned(PatchOperation::Add(AddOperation { path: path.clone(), value: value.clone() }));
    }
    Cow::Borrowed(operation)
}

/// A field that is not there is null to a test, as in kube-apiserver: so clients make sure that they are the first to set it.
fn is_test_of_absence(object: &Value, operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Test(TestOperation { path, value: Value::Null }) if lacks(object, path))
}

/// Whether there is such an object without such a field.
fn lacks(object: &Value, path: &Pointer) -> bool {
    let Some((parent, field)) = path.split_back() else { return false };
    matches!(object.pointer(parent.as_str()), Some(Value::Object(fields)) if !fields.contains_key(&*field.decoded()))
}

/// What may still be carried.
struct Room {
    bytes: usize,
    values: usize,
}

impl Room {
    /// # Errors
    /// The operation would carry too much, or nest the object too deeply.
    fn check(&mut self, object: &Value, operation: &PatchOperation) -> Result<(), Unfit> {
        // A pointer may be as long as its patch; no place is so deep.
        let depth = MAX_DEPTH.checked_sub(operation.path().count()).ok_or(Unfit)?;
        match operation {
            PatchOperation::Add(add) if is_deeper_than(&add.value, depth) => Err(Unfit),
            PatchOperation::Replace(replace) if is_deeper_than(&replace.value, depth) => Err(Unfit),
            PatchOperation::Move(carried) => self.carry(object.pointer(carried.from.as_str()), depth),
            PatchOperation::Copy(carried) => self.carry(object.pointer(carried.from.as_str()), depth),
            _ => Ok(()),
        }
    }

    fn carry(&mut self, value: Option<&Value>, depth: usize) -> Result<(), Unfit> {
        self.take(value.ok_or(Unfit)?, depth)
    }

    fn take(&mut self, value: &Value, depth: usize) -> Result<(), Unfit> {
        self.values = self.values.checked_sub(1).ok_or(Unfit)?;
        let inner = || depth.checked_sub(1).ok_or(Unfit);
        match value {
            Value::Array(items) => {
                let depth = inner()?;
                self.take_bytes(2 + items.len())?;
                items.iter().try_for_each(|item| self.take(item, depth))
            }
            Value::Object(fields) => {
                let depth = inner()?;
                self.take_bytes(2 + fields.len())?;
                fields.iter().try_for_each(|(name, value)| {
                    self.take_bytes(name.len() + 3)?;
                    self.take(value, depth)
                })
            }
            Value::String(text) => self.take_bytes(text.len() + 2),
            // A number, a boolean or null.
            _ => self.take_bytes(4),
        }
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), Unfit> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Unfit)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: &Value, operations: Value) -> Result<Value, Unfit> {
        apply(object, &serde_json::from_value(operations).expect("patch"))
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, _| json!({"a": inner}))
    }

    #[test]
    fn operations_follow_each_other() {
        let operations = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/b/-", "value": 2},
            {"op": "move", "from": "/b/0", "path": "/c"},
            {"op": "remove", "path": "/a"},
            {"op": "replace", "path": "/c", "value": "x"},
        ]);
        assert_eq!(patched(&json!({"a": [1]}), operations), Ok(json!({"b": [2], "c": "x"})));
        let replace = |path: &str| json!([{"op": "replace", "path": path, "value": 1}]);
        assert_eq!(patched(&json!({"a": {}}), replace("/a/b~1c")), Ok(json!({"a": {"b/c": 1}})), "as in Kubernetes");
        assert_eq!(patched(&json!({"a": []}), replace("/a/0")), Err(Unfit));
        assert_eq!(patched(&json!({}), replace("/a/b")), Err(Unfit));
        assert_eq!(patched(&json!({}), json!([{"op": "test", "path": "/a", "value": 1}])), Err(Unfit));
        let is_absent = |path: &str| json!([{"op": "test", "path": path, "value": null}]);
        assert_eq!(patched(&json!({"a": {}}), is_absent("/a/b")), Ok(json!({"a": {}})), "as in Kubernetes");
        assert_eq!(patched(&json!({"a": {"b": 1}}), is_absent("/a/b")), Err(Unfit));
        assert_eq!(patched(&json!({}), is_absent("/a/b")), Err(Unfit));
        assert_eq!(patched(&json!({}), json!([{"op": "copy", "from": "/a", "path": "/b"}])), Err(Unfit));
    }

    #[test]
    fn copies_of_copies_are_refused_before_they_are_made() {
        // Each doubles the object: without a bound these would be 2^60 bytes.
        let doubling: Vec<Value> =
            (0..60).map(|n| json!({"op": "copy", "from": "", "path": format!("/data/{n}")})).collect();
        let object = json!({"data": {"a": "x".repeat(1000)}});
        assert_eq!(patched(&object, json!(doubling)), Err(Unfit));
        assert!(patched(&object, json!(doubling[..5])).is_ok());
        let many = json!({"data": vec![json!({"": 0}); MAX_VALUES / 4]});
        let twice =
            json!([{"op": "copy", "from": "/data", "path": "/b"}, {"op": "copy", "from": "/data", "path": "/c"}]);
        assert_eq!(patched(&many, twice), Err(Unfit), "small values are counted");
    }

    #[test]
    fn no_operation_nests_an_object_too_deeply() {
        let path = |depth: usize| "/a".repeat(depth);
        let object = json!({"a": nested(60), "b": nested(60)});
        for operation in ["move", "copy"] {
            let to = |depth| patched(&object, json!([{"op": operation, "from": "/b", "path": path(depth)}]));
            assert!(to(40).is_ok());
            assert_eq!(to(41), Err(Unfit));
        }
        for operation in ["add", "replace"] {
            let to = |depth| patched(&object, json!([{"op": operation, "path": path(depth), "value": nested(60)}]));
            assert!(to(40).is_ok());
            assert_eq!(to(41), Err(Unfit));
        }
        assert_eq!(patched(&object, json!([{"op": "remove", "path": path(10_000)}])), Err(Unfit));
    }
}
