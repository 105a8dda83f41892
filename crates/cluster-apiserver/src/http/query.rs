//! A request's query, and the options of Kubernetes' verbs read from it.

use percent_encoding::percent_decode_str;

use crate::field_error::{FieldError, Shown};
use crate::status::{Result, StatusError, top};

/// The parameters of a request in their order. Unknown ones are nobody's business.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Nothing is asked for.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Parses a query; tolerates what clients really send, such as `?&a=b`.
    pub(crate) fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, empty if it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A boolean as Kubernetes reads it: present is true unless it says `false` or `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    /// As [`Query::flag`], `None` if it is absent.
    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !(value.eq_ignore_ascii_case("false") || value == "0"))
    }

    /// An integer.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            StatusError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", value.shown()))
        })
    }
}

/// How unknown and duplicate fields of a body are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The options that all writes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) is_dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

impl WriteOptions {
    /// Reads and checks them; `options` is the kind that texts name, such as `CreateOptions`.
    pub(crate) fn parse(query: &Query, options: &str) -> Result<Self> {
        Self::parse_with(query, options, Vec::new())
    }

    /// As [`WriteOptions::parse`], for a verb that has found `errors` of its own.
    pub(crate) fn parse_with(query: &Query, options: &str, mut errors: Vec<FieldError>) -> Result<Self> {
        errors.extend(check_field_manager(query.text("fieldManager")));
        let is_dry_run = dry_run(query.all("dryRun")).unwrap_or_else(|error| {
            errors.push(error);
            false
        });
        let field_validation = field_validation(query).unwrap_or_else(|error| {
            errors.push(error);
            FieldValidation::Warn
        });
        if errors.is_empty() {
            return Ok(Self { is_dry_run, field_validation });
        }
        Err(StatusError::invalid("meta.k8s.io", options, "", &errors))
    }
}

/// Names of managers may have so many bytes.
pub(crate) const FIELD_MANAGER_MAX: usize = 128;

fn check_field_manager(manager: &str) -> Option<FieldError> {
    let path = top("fieldManager");
    if manager.len() > FIELD_MANAGER_MAX {
        return Some(FieldError::too_long(&path, FIELD_MANAGER_MAX));
    }
    let (place, c) = manager.char_indices().find(|(_, c)| c.is_control())?;
    let why = format!("invalid character U+{:04X} (at position {place})", u32::from(c));
    Some(FieldError::invalid(&path, manager, &why))
}

/// Whether nothing is to be stored.
pub(crate) fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> std::result::Result<bool, FieldError> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        return Err(FieldError::not_supported(&top("dryRun"), &serde_json::json!(values), &["All"]));
    }
    Ok(!values.is_empty())
}

fn field_validation(query: &Query) -> std::result::Result<FieldValidation, FieldError> {
    match query.text("fieldValidation") {
        "Ignore" => Ok(FieldValidation::Ignore),
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Strict" => Ok(FieldValidation::Strict),
        other => {
            let supported = ["", "Ignore", "Strict", "Warn"];
            Err(FieldError::not_supported(&top("fieldValidation"), other, &supported))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_really_send() {
        let query = Query::parse("&limit=500&labelSelector=a%3Db%2Cc&watch=1&x&fieldSelector=a+b&watch=0");
        assert_eq!(query.get("limit"), Some("500"));
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.text("fieldSelector"), "a b");
        assert!(query.flag("watch") && query.flag("x") && !query.flag("y"));
        assert_eq!(query.number("limit").expect("number"), Some(500));
        assert!(query.number("labelSelector").is_err());
        assert!(!Query::parse("watch=false").flag("watch"));
    }

    #[test]
    fn options_outside_their_values_are_refused_in_kubernetes_words() {
        let error = WriteOptions::parse(&Query::parse("dryRun=Foo"), "CreateOptions").expect_err("dryRun");
        assert_eq!(
            error.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\""
        );
        let error = WriteOptions::parse(&Query::parse("fieldValidation=Foo"), "CreateOptions").expect_err("validation");
        assert_eq!(
            error.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Foo\": supported values: \
             \"\", \"Ignore\", \"Strict\", \"Warn\""
        );
        let options = WriteOptions::parse(&Query::parse("dryRun=All"), "CreateOptions").expect("options");
        assert!(options.is_dry_run && options.field_validation == FieldValidation::Warn);
    }
}
