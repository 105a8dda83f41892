//! Field selectors: `metadata.name=a,status.phase!=Running`. Specified by apimachinery's `fields.ParseSelector`.
//!
//! Which fields a selector may name depends on the kind, and so does what is said of others.

use super::SelectorError;
use crate::store::ObjectKey;

/// Terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    is_negated: bool,
}

impl FieldSelector {
    /// Parses a `fieldSelector` parameter; an empty one selects everything.
    ///
    /// # Errors
    /// The text is not a selector, or names a field that may not be named, of which `refuse` says so.
    pub fn parse(text: &str, refuse: impl Fn(&str) -> Option<String>) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split(text) {
            let term = parse_term(&part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            if let Some(refused) = refuse(&term.field) {
                return Err(SelectorError(refused));
            }
            terms.push(term);
        }
        Ok(Self(terms))
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether more than the key is needed to decide.
    pub fn needs_body(&self) -> bool {
        self.0.iter().any(|term| !is_key_field(&term.field))
    }

    /// The one name that can be selected, if there is only one.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|term| term.field == "metadata.name" && !term.is_negated).map(|term| term.value.as_str())
    }

    /// The selector for the object `name` alone; `None` if it selects by anything else.
    pub fn named(self, name: &str) -> Option<Self> {
        match self.name() {
            Some(selected) => (selected == name).then_some(self),
            None if self.is_everything() => {
                let (field, value) = ("metadata.name".to_owned(), name.to_owned());
                Some(Self(vec![Term { field, value, is_negated: false }]))
            }
            None => None,
        }
    }

    /// Whether the terms about the key hold.
    pub fn matches_key(&self, key: &ObjectKey) -> bool {
        self.0.iter().all(|term| match term.field.as_str() {
            "metadata.name" => term.holds(key.name()),
            "metadata.namespace" => term.holds(key.namespace()),
            _ => true,
        })
    }

    /// Whether the other terms hold for an object whose fields `value` reads.
    pub fn matches_fields(&self, value: impl Fn(&str) -> String) -> bool {
        self.0.iter().filter(|term| !is_key_field(&term.field)).all(|term| term.holds(&value(&term.field)))
    }
}

impl Term {
    fn holds(&self, value: &str) -> bool {
        (self.value == value) != self.is_negated
    }
}

fn is_key_field(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for c in text.chars() {
        if c == ',' && !is_escaped {
            parts.push(String::new());
            continue;
        }
        is_escaped = c == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn parse_term(part: &str) -> Option<Term> {
    let at = part.find(['=', '!'])?;
    let (field, rest) = part.split_at_checked(at)?;
    let (is_negated, value) = match rest.strip_prefix("!=") {
        Some(value) => (true, value),
        None => (false, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?),
    };
    Some(Term { field: field.to_owned(), value: unescape(value)?, is_negated })
}

/// Only `\\`, `\,` and `\=` are escapes, and those characters must be escaped.
fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next()? {
                escaped @ ('\\' | ',' | '=') => out.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            _ => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FieldSelector, SelectorError> {
        FieldSelector::parse(text, |field| {
            let is_known = matches!(field, "metadata.name" | "metadata.namespace" | "status.phase");
            (!is_known).then(|| format!("field label not supported: {field}"))
        })
    }

    #[test]
    fn terms_hold_or_not() {
        let selector = parse("metadata.name=a,status.phase!=Running,metadata.namespace==b").expect("selector");
        assert_eq!(selector.name(), Some("a"));
        assert!(selector.needs_body());
        assert!(selector.matches_key(&ObjectKey::new("b", "a")));
        assert!(!selector.matches_key(&ObjectKey::new("c", "a")));
        assert!(selector.matches_fields(|_| "Pending".to_owned()));
        assert!(!selector.matches_fields(|_| "Running".to_owned()));
        assert_eq!(parse("").expect("empty").named("a"), parse("metadata.name=a").ok());
        assert_eq!(parse("metadata.name=a").expect("selector").named("b"), None);
        assert_eq!(parse("status.phase=Running").expect("selector").named("a"), None);
        assert!(parse("").expect("empty").is_everything());
        assert!(parse(r"metadata.name=a\,b").expect("escaped").matches_key(&ObjectKey::new("", "a,b")));
    }

    #[test]
    fn what_is_wrong_is_said_as_kubernetes_says_it() {
        assert_eq!(parse("spec.foo=x").expect_err("unknown").0, "field label not supported: spec.foo");
        assert_eq!(parse("a").expect_err("no operator").0, "invalid selector: 'a'; can't understand 'a'");
        assert!(parse("metadata.name=a=b").is_err());
        assert!(parse("metadata.name!").is_err());
    }
}
