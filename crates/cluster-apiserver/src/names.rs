//! The forms that names, labels, keys and ports must have, and the texts for those that do not.
//!
//! Each check answers with what is wrong, nothing if all is well; the caller says where. The texts end with the
//! regular expression that people look for in them; the matching itself is by hand, since every object written passes
//! several of these checks.
//!
//! Specified by apimachinery's `util/validation` (lengths in *characters*) and `api/validate/content` (lengths in
//! *bytes*): label keys and their prefixes use the latter.

use std::borrow::Cow;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_RE: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const KEY_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A longest length of a DNS label.
pub const LABEL_MAX: usize = 63;
/// A longest length of a DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

/// `text (e.g. 'a',  or 'b', regex used for validation is '…')`.
pub fn regex_text(text: &str, re: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{re}')");
    }
    let list: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{re}')", list.join(" or "))
}

fn too_long(max: usize, unit: &str) -> String {
    format!("must be no more than {max} {unit}")
}

fn is_label_form(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_subdomain_form(value: &str) -> bool {
    value.split('.').all(is_label_form)
}

/// What is wrong with `value` as a DNS-1123 label.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX, "characters"));
    }
    if !is_label_form(value) {
        if is_subdomain_form(value) {
            wrong.push("must not contain dots".to_owned());
        } else {
            wrong.push(regex_text(LABEL_TEXT, LABEL_RE, &["my-name", "123-abc"]));
        }
    }
    wrong
}

/// What is wrong with `value` as a DNS-1123 subdomain.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    subdomain(value, "characters")
}

fn subdomain(value: &str, unit: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX, unit));
    }
    if !is_subdomain_form(value) {
        wrong.push(regex_text(SUBDOMAIN_TEXT, SUBDOMAIN_RE, &["example.com"]));
    }
    wrong
}

/// What is wrong with `value` as a domain to search in, which may have underscores.
pub fn search_domain(value: &str) -> Vec<String> {
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut wrong = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX, "characters"));
    }
    let is_form =
        value.split('.').all(|label| is_label_form(&label.strip_prefix('_').unwrap_or(label).replace('_', "-")));
    if !is_form {
        wrong.push(regex_text(TEXT, &format!(r"{LABEL}(\.{LABEL})*"), &["example.com"]));
    }
    wrong
}

/// What is wrong with `value` as a DNS-1035 label, which starts with a letter.
pub fn dns1035_label(value: &str) -> Vec<String> {
    const TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
    let mut wrong = Vec::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX, "characters"));
    }
    if !is_label_form(value) || value.starts_with(|c: char| c.is_ascii_digit()) {
        wrong.push(regex_text(TEXT, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    wrong
}

/// What is wrong with `value` as `*.` and a DNS-1123 subdomain.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    const TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
    let mut wrong = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX, "characters"));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain_form) {
        wrong.push(regex_text(TEXT, &format!(r"\*\.{SUBDOMAIN_RE}"), &["*.example.com"]));
    }
    wrong
}

fn is_key_form(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// What is wrong with `value` as a qualified name: a label key, an annotation key, a finalizer, a condition's type.
pub fn qualified_name(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let mut parts = value.split('/');
    let first = parts.next().unwrap_or_default();
    let name = match (parts.next(), parts.next()) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(first, "bytes").into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_text(KEY_TEXT, KEY_RE, &examples)
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", too_long(LABEL_MAX, "bytes")));
    }
    if !is_key_form(name) {
        wrong.push(format!("name part {}", regex_text(KEY_TEXT, KEY_RE, &examples)));
    }
    wrong
}

/// What is wrong with `value` as a label's value.
pub fn label_value(value: &str) -> Vec<String> {
    const TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let mut wrong = Vec::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX, "bytes"));
    }
    if !value.is_empty() && !is_key_form(value) {
        wrong.push(regex_text(TEXT, &format!("({KEY_RE})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// What is wrong with `value` as one segment of a path.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// What is wrong with `value` as the start of a path's segment.
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|part| value.contains(**part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// A prefix, to which an ending is added, as a name that is right where the prefix is: Kubernetes puts a letter for its last two characters
/// where it ends in a dash, so that it may end in two.
pub fn as_name(prefix: &str) -> Cow<'_, str> {
    let mut chars = prefix.chars();
    if chars.next_back() != Some('-') || chars.next_back().is_none() {
        return Cow::Borrowed(prefix);
    }
    Cow::Owned(format!("{}a", chars.as_str()))
}

/// What is wrong with `value` as the name of a container port.
pub fn port_name(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |broken: bool, text: &str| {
        if broken {
            wrong.push(text.to_owned());
        }
    };
    let is_form = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    must(value.len() > 15, "must be no more than 15 characters");
    must(
        value.is_empty() || !value.bytes().all(is_form),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    must(!value.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    must(value.contains("--"), "must not contain consecutive hyphens");
    must(value.starts_with('-') || value.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

/// What is wrong with `value` as a port's number.
pub fn port_number(value: i64) -> Option<String> {
    in_range(value, 1, 65535)
}

/// What is wrong with a value outside `low..=high`.
pub fn in_range(value: i64, low: i64, high: i64) -> Option<String> {
    (!(low..=high).contains(&value)).then(|| format!("must be between {low} and {high}, inclusive"))
}

/// What is wrong with `value` as a percentage such as `25%`.
pub fn percent(value: &str) -> Option<String> {
    let is_form = value.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let text = "a valid percent string must be a numeric string followed by an ending '%'";
    (!is_form).then(|| regex_text(text, "[0-9]+%", &["1%", "93%"]))
}

/// What is wrong with `value` as the name of an environment variable.
pub fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// What is wrong with `value` as a key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    const TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let mut wrong = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX, "characters"));
    }
    let is_form = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(is_form) {
        wrong.push(regex_text(TEXT, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match value {
        "." | ".." => wrong.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// What is wrong with `value` as the name of an HTTP header.
pub fn http_header_name(value: &str) -> Option<String> {
    let is_form = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let text = "a valid HTTP header must consist of alphanumeric characters or '-'";
    (!is_form).then(|| regex_text(text, "[-A-Za-z0-9]+", &["X-Header-Name"]))
}

/// What is wrong with a negative number.
pub fn non_negative(value: i64) -> Option<&'static str> {
    (value < 0).then_some(NEGATIVE)
}

/// The text for a number below zero.
pub const NEGATIVE: &str = "must be greater than or equal to 0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert!(dns1123_label("-a")[0].starts_with("a lowercase RFC 1123 label must consist"));
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert_eq!(dns1123_subdomain("a..b").len(), 1);
        assert_eq!(dns1035_label("1a").len(), 1);
        assert_eq!(
            dns1123_subdomain("")[0],
            format!("{SUBDOMAIN_TEXT} (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_RE}')")
        );
        assert!(wildcard_subdomain("*.a.b").is_empty());
        assert_eq!(wildcard_subdomain("a.b").len(), 1);
    }

    #[test]
    fn a_prefix_is_as_right_as_a_name_that_it_begins() {
        for (prefix, name) in [("ab-", "aa"), ("ab--", "aba"), ("ab---", "ab-a"), ("-", "-"), ("a-", "a"), ("ab", "ab")]
        {
            assert_eq!(as_name(prefix), name);
        }
    }

    #[test]
    fn keys_and_values() {
        assert!(qualified_name("example.com/My_name.x").is_empty());
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/").len(), 2);
        assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"));
        assert_eq!(qualified_name(&"x".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-x").len(), 1);
        assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
        assert_eq!(config_map_key("a/b").len(), 1);
    }

    #[test]
    fn ports_and_percents() {
        assert!(port_name("http-1").is_empty());
        assert_eq!(port_name("1"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("").len(), 2);
        assert_eq!(port_name("a--b-").len(), 2);
        assert_eq!(port_number(0).as_deref(), Some("must be between 1 and 65535, inclusive"));
        assert!(percent("25%").is_none());
        assert!(percent("%").is_some());
        assert_eq!(env_var_name("a=b").len(), 1);
    }
}
