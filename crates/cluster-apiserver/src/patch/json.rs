//! JSON patch as kube-apiserver's library carries it out, one operation after the other and within bounds: what an operation carries from one
//! place to another is measured before.
//!
//! A few copies, each of what the ones before have made, would otherwise fill the memory, and a few moves nest an object deeper than any
//! reader's stack. Which bound was met is not told, as in Kubernetes. Neither is which operation does not fit.
//!
//! Unlike the standard, a field that is not there is null where it is tested, copied or replaced; indices count from the end if they are
//! negative; and a path loses what stands before its first slash.

use serde_json::{Map, Value};

use crate::negotiate::json_kind;
use crate::strict::MAX_VALUES;
use crate::value::{MAX_DEPTH, is_deeper_than};

/// All operations of a patch together may carry so many bytes of JSON: Kubernetes' bound for copies.
const MAX_CARRIED_BYTES: usize = 3 << 20;

/// The patch does not fit the object, or goes beyond a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON patch cannot be applied")]
pub(crate) struct Unfit;

/// The operations of a patch, which may lack what they need until they are carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operations(Vec<Map<String, Value>>);

impl Operations {
    /// The operations that a patch consists of.
    ///
    /// # Errors
    /// What Go says of JSON that is no list of objects.
    pub(crate) fn of(patch: Value) -> Result<Self, String> {
        let refuse = |value: &Value, of: &str| {
            format!("json: cannot unmarshal {} into Go value of type jsonpatch.{of}", json_kind(value))
        };
        let items = match patch {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            other => return Err(refuse(&other, "Patch")),
        };
        let one = |item| match item {
            Value::Null => Ok(Map::new()),
            Value::Object(fields) => Ok(fields),
            other => Err(refuse(&other, "Operation")),
        };
        items.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Lays `patch` over `object`.
///
/// # Errors
/// An operation does not fit, or goes beyond a bound.
pub(crate) fn apply(object: &Value, patch: &Operations) -> Result<Value, Unfit> {
    let mut object = object.clone();
    let mut room = Room { bytes: MAX_CARRIED_BYTES, values: MAX_VALUES };
    for operation in &patch.0 {
        carry_out(&mut object, operation, &mut room)?;
    }
    Ok(object)
}

fn carry_out(object: &mut Value, operation: &Map<String, Value>, room: &mut Room) -> Result<(), Unfit> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str).ok_or(Unfit);
    let (kind, path) = (text("op")?, text("path")?);
    let value = operation.get("value");
    let given = value.unwrap_or(&Value::Null);
    match kind {
        "test" if path.is_empty() && value == Some(&*object) => Ok(()),
        "test" if path.is_empty() => Err(Unfit),
        "test" => (*Spot::find(object, path)?.get()? == *given).then_some(()).ok_or(Unfit),
        "replace" if path.is_empty() && (given.is_object() || given.is_array()) => {
            room.check(given, path)?;
            *object = given.clone();
            Ok(())
        }
        "add" => {
            room.check(given, path)?;
            Spot::find(object, path)?.add(given.clone())
        }
        "replace" => {
            room.check(given, path)?;
            Spot::find(object, path)?.set(given.clone())
        }
        "remove" => Spot::find(object, path)?.remove().map(drop),
        "move" => {
            let from = text("from")?;
            room.carry(Spot::find(object, from)?.get()?, path)?;
            let moved = Spot::find(object, from)?.remove()?;
            Spot::find(object, path)?.add(moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = Spot::find(object, from)?.get()?;
            room.carry(copied, path)?;
            let copied = copied.clone();
            Spot::find(object, path)?.add(copied)
        }
        _ => Err(Unfit),
    }
}

/// Where a path leads: a field of an object that is there, or an item of a list.
enum Spot<'a> {
    Field(&'a mut Map<String, Value>, String),
    Item(&'a mut Vec<Value>, String),
}

impl<'a> Spot<'a> {
    /// # Errors
    /// There is nothing that could have such a field or item.
    fn find(object: &'a mut Value, path: &str) -> Result<Self, Unfit> {
        let (parents, last) = path.rsplit_once('/').ok_or(Unfit)?;
        let mut here = object;
        for name in parents.split('/').skip(1) {
            let name = unescaped(name);
            let inner = match here {
                Value::Object(fields) => fields.get_mut(&name),
                Value::Array(items) => {
                    let at = index(&name, items.len())?;
                    items.get_mut(at)
                }
                _ => None,
            };
            here = inner.ok_or(Unfit)?;
        }
        match here {
            Value::Object(fields) => Ok(Self::Field(fields, unescaped(last))),
            Value::Array(items) => Ok(Self::Item(items, unescaped(last))),
            _ => Err(Unfit),
        }
    }

    /// What is there; a field that is not is null.
    fn get(self) -> Result<&'a Value, Unfit> {
        match self {
            Self::Field(fields, name) => Ok(fields.get(&name).unwrap_or(&Value::Null)),
            Self::Item(items, name) => items.get(index(&name, items.len())?).ok_or(Unfit),
        }
    }

    fn add(self, value: Value) -> Result<(), Unfit> {
        match self {
            Self::Field(fields, name) => {
                fields.insert(name, value);
            }
            Self::Item(items, name) if name == "-" => items.push(value),
            Self::Item(items, name) => {
                let at = index(&name, items.len() + 1)?;
                if at > items.len() {
                    return Err(Unfit);
                }
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn set(self, value: Value) -> Result<(), Unfit> {
        match self {
            Self::Field(fields, name) => {
                fields.insert(name, value);
            }
            Self::Item(items, name) => {
                let at = index(&name, items.len())?;
                *items.get_mut(at).ok_or(Unfit)? = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, Unfit> {
        match self {
            Self::Field(fields, name) => fields.remove(&name).ok_or(Unfit),
            Self::Item(items, name) => {
                let at = index(&name, items.len())?;
                if at < items.len() { Ok(items.remove(at)) } else { Err(Unfit) }
            }
        }
    }
}

/// An index into a list of so many items, from its end if it is negative; perhaps beyond it.
fn index(name: &str, length: usize) -> Result<usize, Unfit> {
    let index: isize = name.parse().map_err(|_| Unfit)?;
    if index < 0 { length.checked_sub(index.unsigned_abs()).ok_or(Unfit) } else { Ok(index.unsigned_abs()) }
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// What may still be carried.
struct Room {
    bytes: usize,
    values: usize,
}

impl Room {
    /// # Errors
    /// The value would nest the object too deeply at `path`.
    fn check(&self, value: &Value, path: &str) -> Result<(), Unfit> {
        if is_deeper_than(value, room_below(path)?) { Err(Unfit) } else { Ok(()) }
    }

    /// # Errors
    /// The value is too much to carry, or would nest the object too deeply at `path`.
    fn carry(&mut self, value: &Value, path: &str) -> Result<(), Unfit> {
        self.take(value, room_below(path)?)
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

/// How deep a value at `path` may be. A path may be as long as its patch; no place is so deep.
fn room_below(path: &str) -> Result<usize, Unfit> {
    MAX_DEPTH.checked_sub(path.matches('/').count()).ok_or(Unfit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(object: &Value, operations: Value) -> Result<Value, Unfit> {
        apply(object, &Operations::of(operations).expect("patch"))
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
    }

    #[test]
    fn operations_are_those_of_kubernetes_library() {
        let object = json!({"a": {"b": 1}, "l": [1, 2, 3], "n": null});
        let done = |operation: Value| patched(&object, json!([operation]));
        let with = |field: &str, value: Value| {
            let mut new = object.clone();
            new[field] = value;
            Ok(new)
        };
        assert_eq!(done(json!({"op": "copy", "from": "/a/c", "path": "/n"})), Ok(object.clone()), "nothing is null");
        assert_eq!(done(json!({"op": "copy", "from": "/a/c", "path": "/d"})), with("d", Value::Null));
        assert_eq!(done(json!({"op": "copy", "from": "/d/c", "path": "/a"})), Err(Unfit));
        assert_eq!(done(json!({"op": "move", "from": "/a/c", "path": "/d"})), Err(Unfit));
        assert_eq!(done(json!({"op": "remove", "path": "/l/-1"})), with("l", json!([1, 2])));
        assert_eq!(done(json!({"op": "replace", "path": "/l/-3", "value": 0})), with("l", json!([0, 2, 3])));
        assert_eq!(done(json!({"op": "add", "path": "/l/-1", "value": 4})), with("l", json!([1, 2, 3, 4])));
        assert_eq!(done(json!({"op": "remove", "path": "/l/-4"})), Err(Unfit));
        assert_eq!(done(json!({"op": "add", "path": "/l/4", "value": 4})), Err(Unfit));
        assert_eq!(done(json!({"op": "add", "path": "a/b", "value": 4})), with("b", json!(4)));
        assert_eq!(done(json!({"op": "add", "path": "b", "value": 4})), Err(Unfit));
        assert_eq!(done(json!({"op": "add", "path": "/d"})), with("d", Value::Null));
        assert_eq!(done(json!({"op": "add", "path": "/n/d", "value": 1})), Err(Unfit));
        assert_eq!(done(json!({"op": "test", "path": "", "value": object})), Ok(object.clone()));
        assert_eq!(done(json!({"op": "test", "path": ""})), Err(Unfit));
        assert_eq!(done(json!({"op": "replace", "path": "", "value": 5})), Err(Unfit));
        assert_eq!(done(json!({"op": "remove", "path": ""})), Err(Unfit));
        for malformed in
            [json!({"op": 5, "path": "/a"}), json!({"op": "add", "path": 5}), json!({"path": "/a"}), json!(null)]
        {
            assert_eq!(done(malformed), Err(Unfit));
        }
        let of = |patch: Value| Operations::of(patch).map(|operations| operations.len());
        assert_eq!(of(json!(null)), Ok(0));
        assert_eq!(
            of(json!({})),
            Err("json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned())
        );
        assert_eq!(
            of(json!([5])),
            Err("json: cannot unmarshal number into Go value of type jsonpatch.Operation".to_owned())
        );
    }

    #[test]
    fn copies_of_copies_are_refused_before_they_are_made() {
        // Each doubles the object: without a bound these would be 2^60 bytes.
        let doubling: Vec<Value> =
            (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")})).collect();
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
