//! What differs between two objects, field by field: what a write changes, and what an apply would.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::{Element, compare_values};
use super::schema::{Form, List, Map as Fields, Place};
use super::set::FieldSet;

/// How a new object differs from an old one. No field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) removed: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) added: FieldSet,
}

impl Comparison {
    /// What the new object has that the old one had not, or not so.
    pub(crate) fn changed(&self) -> FieldSet {
        self.modified.union(&self.added)
    }

    /// Whether the objects are the same.
    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// With only what `keep` leaves of each set.
    pub(crate) fn filtered(self, keep: impl Fn(&FieldSet) -> FieldSet) -> Self {
        Self { removed: keep(&self.removed), modified: keep(&self.modified), added: keep(&self.added) }
    }
}

/// Compares two objects of one type.
pub(crate) fn compare(place: Place<'_>, old: &Value, new: &Value) -> Comparison {
    if old == new {
        return Comparison::default();
    }
    compare_at(place, Some(old), Some(new)).below
}

/// What differs at a value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Removed,
    Modified,
    Added,
}

/// What differs at a value and below it.
struct Difference {
    here: Change,
    below: Comparison,
}

impl Difference {
    fn here(here: Change) -> Self {
        Self { here, below: Comparison::default() }
    }

    /// The value as a whole, which is there on at least one side.
    fn of_whole(old: Option<&Value>, new: Option<&Value>) -> Self {
        Self::here(match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(old), Some(new)) if old == new || compare_values(old, new).is_eq() => Change::None,
            _ => Change::Modified,
        })
    }
}

impl Comparison {
    fn put(&mut self, element: Element, difference: Difference) {
        let Difference { here, below } = difference;
        let Self { removed, modified, added } = self;
        removed.put(element.clone(), here == Change::Removed, below.removed);
        modified.put(element.clone(), here == Change::Modified, below.modified);
        added.put(element, here == Change::Added, below.added);
    }
}

fn compare_at(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    // `null` takes whatever form the other side has.
    let solid = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    let (of_old, of_new) = (place.form(old), place.form(new));
    let is_one_form = std::mem::discriminant(&of_old) == std::mem::discriminant(&of_new);
    if !solid(new) {
        return compare_form(of_old, old, new);
    }
    if !solid(old) || is_one_form {
        return compare_form(of_new, old, new);
    }
    // It became something else: what it was and what it is are compared each for itself.
    let (before, after) = (compare_form(of_old, old, new), compare_form(of_new, old, new));
    let here = if before.here == Change::None { after.here } else { before.here };
    let union = |a: FieldSet, b: FieldSet| a.union(&b);
    let below = Comparison {
        removed: union(before.below.removed, after.below.removed),
        modified: union(before.below.modified, after.below.modified),
        added: union(before.below.added, after.below.added),
    };
    Difference { here, below }
}

fn compare_form(form: Form<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let below = match form {
        Form::Scalar(_) => return Difference::of_whole(old, new),
        Form::Map(map) => {
            let (before, after) = (fields(old), fields(new));
            if map.is_atomic || (is_empty(before) && is_empty(after)) {
                return Difference::of_whole(old, new);
            }
            let mut below = Comparison::default();
            for (name, value) in before.into_iter().flatten() {
                let other = after.and_then(|after| after.get(name));
                compare_field(&map, name, Some(value), other, &mut below);
            }
            for (name, value) in after.into_iter().flatten() {
                if before.is_none_or(|before| !before.contains_key(name)) {
                    compare_field(&map, name, None, Some(value), &mut below);
                }
            }
            below
        }
        Form::List(list) => {
            let (before, after) = (items(old), items(new));
            if list.is_atomic() || (before.is_empty() && after.is_empty()) {
                return Difference::of_whole(old, new);
            }
            compare_items(&list, before, after)
        }
    };
    let here = match (old, new) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::None,
    };
    Difference { here, below }
}

fn compare_field(map: &Fields<'_>, name: &str, old: Option<&Value>, new: Option<&Value>, below: &mut Comparison) {
    if old == new {
        return;
    }
    let place = map.entry(name).map_or(Place::Any, |entry| entry.place);
    below.put(Element::field(name), compare_at(place, old, new));
}

/// Items of one element; more than one of a side are compared as a whole.
type Pair<'v> = (Vec<&'v Value>, Vec<&'v Value>);

fn compare_items(list: &List<'_>, old: &[Value], new: &[Value]) -> Comparison {
    let mut below = Comparison::default();
    if old == new {
        return below;
    }
    let mut pairs: BTreeMap<Element, Pair<'_>> = BTreeMap::new();
    // An item without an element is refused elsewhere.
    for item in old {
        if let Ok(element) = list.element(item) {
            pairs.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = list.element(item) {
            pairs.entry(element).or_default().1.push(item);
        }
    }
    for (element, (old, new)) in pairs {
        let (before, after) = (old.first().copied(), new.first().copied());
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => below.put(element, compare_at(list.items, before, after)),
            (2.., 2..) if old == new => {}
            (2.., 2..) => below.put(element, Difference::here(Change::Modified)),
            (2.., _) => {
                if after.is_some() {
                    below.put(element.clone(), compare_at(list.items, None, after));
                }
                below.put(element, Difference::here(Change::Removed));
            }
            (_, _) => {
                if before.is_some() {
                    below.put(element.clone(), compare_at(list.items, before, None));
                }
                below.put(element, Difference::here(Change::Added));
            }
        }
    }
    below
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn is_empty(fields: Option<&Map<String, Value>>) -> bool {
    fields.is_none_or(Map::is_empty)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
