//! Sets of fields: what a manager owns of an object.
//!
//! A tree whose nodes are path elements in order. A node that is a member stands for itself, not for what is below it: owning `.data` and
//! owning `.data.a` are different things. Every leaf is a member.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::element::{Element, Malformed};

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    nodes: Vec<Node>,
}

/// An element with what is in the set at it and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) element: Element,
    pub(crate) is_member: bool,
    pub(crate) below: FieldSet,
}

impl FieldSet {
    /// The set of some fields of objects, each by the names on the way to it.
    pub(crate) fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(path.iter().map(|name| Element::field(name)));
        }
        set
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes at the top, in order.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at the top for an element.
    pub(crate) fn get(&self, element: &Element) -> Option<&Node> {
        let place = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        self.nodes.get(place)
    }

    /// Whether the field at a path is in it.
    #[cfg(test)]
    pub(crate) fn has(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, [])) => self.get(first).is_some_and(|node| node.is_member),
            Some((first, rest)) => self.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// Puts the field at a path in.
    pub(crate) fn insert(&mut self, path: impl IntoIterator<Item = Element>) {
        let mut here = self;
        let mut path = path.into_iter().peekable();
        while let Some(element) = path.next() {
            let node = here.node_mut(element);
            node.is_member |= path.peek().is_none();
            here = &mut node.below;
        }
    }

    /// Puts in what stands at and below an element; nothing if that is nothing.
    pub(crate) fn put(&mut self, element: Element, is_member: bool, below: Self) {
        if !is_member && below.is_empty() {
            return;
        }
        let node = self.node_mut(element);
        node.is_member |= is_member;
        node.below = if node.below.is_empty() { below } else { node.below.union(&below) };
    }

    fn node_mut(&mut self, element: Element) -> &mut Node {
        // Most come in order.
        let place = match self.nodes.last().map(|last| last.element.cmp(&element)) {
            None | Some(Ordering::Less) => Err(self.nodes.len()),
            Some(_) => self.nodes.binary_search_by(|node| node.element.cmp(&element)),
        };
        let place = place.unwrap_or_else(|place| {
            self.nodes.insert(place, Node { element, is_member: false, below: Self::default() });
            place
        });
        &mut self.nodes[place]
    }

    /// What is in either.
    pub(crate) fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.is_member || b.is_member, a.below.union(&b.below)),
            (Some(one), None) | (None, Some(one)) => (one.is_member, one.below.clone()),
            (None, None) => (false, Self::default()),
        })
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.is_member && b.is_member, a.below.intersection(&b.below)),
            _ => (false, Self::default()),
        })
    }

    /// What of this is in a set of the form of managedFields, which is not read for it.
    pub(crate) fn found_in(&self, fields: &Value) -> Self {
        let mut found = Self::default();
        let Value::Object(fields) = fields else { return found };
        for node in &self.nodes {
            let Some(value) = fields.get(&node.element.to_text()) else { continue };
            let is_there = value.as_object().is_none_or(|below| below.is_empty() || below.contains_key("."));
            found.put(node.element.clone(), node.is_member && is_there, node.below.found_in(value));
        }
        found
    }

    /// What is in this and not in the other; a field that the other has does not take what is below it along.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.is_member && !b.is_member, a.below.difference(&b.below)),
            (Some(a), None) => (a.is_member, a.below.clone()),
            _ => (false, Self::default()),
        })
    }

    /// What is in this and neither in the other nor below a field that is.
    pub(crate) fn recursive_difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| match (a, b) {
            (Some(_), Some(b)) if b.is_member => (false, Self::default()),
            (Some(a), Some(b)) => (a.is_member, a.below.recursive_difference(&b.below)),
            (Some(a), None) => (a.is_member, a.below.clone()),
            _ => (false, Self::default()),
        })
    }

    /// Walks both in order; what `take` makes of two nodes of one element is in the result.
    fn combine(&self, other: &Self, take: impl Fn(Option<&Node>, Option<&Node>) -> (bool, Self)) -> Self {
        let mut nodes = Vec::new();
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            let (is_member, below) = take(a, b);
            if let (true, Some(node)) = (is_member || !below.is_empty(), a.or(b)) {
                nodes.push(Node { element: node.element.clone(), is_member, below });
            }
        }
        Self { nodes }
    }

    /// Every field, those of a level before those below it.
    pub(crate) fn paths(&self) -> Vec<Vec<Element>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        for node in self.nodes.iter().filter(|node| node.is_member) {
            paths.push(prefix.iter().chain([&node.element]).cloned().collect());
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// Reads the form of managedFields. It is as deep as the reader of its JSON allowed.
    ///
    /// # Errors
    /// Something in it is no path element, or no object.
    pub(crate) fn parse(fields: &Value) -> Result<Self, Malformed> {
        Self::read(fields).map(|(set, _)| set)
    }

    /// The set below a node, and whether the node itself is a member.
    fn read(fields: &Value) -> Result<(Self, bool), Malformed> {
        let none = Map::new();
        let fields = match fields {
            Value::Object(fields) => fields,
            Value::Null => &none,
            other => return Err(Malformed(format!("expected an object, got {other}"))),
        };
        let mut set = Self::default();
        for (key, value) in fields.iter().filter(|(key, _)| *key != ".") {
            let Some(element) = Element::parse(key)? else { continue };
            let (below, is_member) = Self::read(value)?;
            set.put(element, is_member, below);
        }
        let is_member = set.is_empty() || fields.contains_key(".");
        Ok((set, is_member))
    }

    /// The form of managedFields.
    pub(crate) fn to_value(&self) -> Value {
        let mut fields = Map::new();
        for node in &self.nodes {
            let mut below = node.below.to_value();
            if let (true, false, Value::Object(below)) = (node.is_member, node.below.is_empty(), &mut below) {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            fields.insert(node.element.to_text(), below);
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests;
