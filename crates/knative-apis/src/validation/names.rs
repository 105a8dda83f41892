//! Kubernetes' rules for names, with its texts. An empty list means that the name is good.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A message with examples and the expression, as Kubernetes joins them.
fn with_regex(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

/// The unit is what Kubernetes writes: bytes in what concerns labels, characters elsewhere.
fn too_long(max: usize, unit: &str) -> String {
    format!("must be no more than {max} {unit}")
}

fn is_lower_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether the text begins and ends with what `edge` allows and has only that and `inner` between.
fn has_form(text: &str, edge: fn(char) -> bool, inner: &[char]) -> bool {
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || inner.contains(&c))
}

fn is_label_1123(text: &str) -> bool {
    has_form(text, is_lower_alphanumeric, &['-'])
}

fn is_subdomain_1123(text: &str) -> bool {
    text.split('.').all(is_label_1123)
}

/// One DNS label of lower case letters, digits and `-`.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > LABEL_MAX {
        problems.push(too_long(LABEL_MAX, "characters"));
    }
    if !is_label_1123(text) {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                       and must start and end with an alphanumeric character";
        problems.push(if is_subdomain_1123(text) {
            "must not contain dots".to_owned()
        } else {
            with_regex(message, LABEL_1123, &["my-name", "123-abc"])
        });
    }
    problems
}

/// DNS labels joined by dots.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, "characters")
}

fn subdomain(text: &str, unit: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        problems.push(too_long(SUBDOMAIN_MAX, unit));
    }
    if !is_subdomain_1123(text) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                       and must start and end with an alphanumeric character";
        let regex = format!("{LABEL_1123}(\\.{LABEL_1123})*");
        problems.push(with_regex(message, &regex, &["example.com"]));
    }
    problems
}

/// One DNS label that begins with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > LABEL_MAX {
        problems.push(too_long(LABEL_MAX, "characters"));
    }
    if !(is_label_1123(text) && text.starts_with(|c: char| c.is_ascii_lowercase())) {
        let message = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                       start with an alphabetic character, and end with an alphanumeric character";
        problems.push(with_regex(message, LABEL_1035, &["my-name", "abc-123"]));
    }
    problems
}

/// The beginning of a [`dns1035_label`] that will be completed: it may end in `-`.
pub fn dns1035_label_prefix(text: &str) -> Vec<String> {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut masked: String = rest.chars().take(rest.chars().count() - 1).collect();
            masked.push('a');
            dns1035_label(&masked)
        }
        _ => dns1035_label(text),
    }
}

/// A name with an optional domain before it: `name` or `example.com/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain(prefix, "bytes").into_iter().map(|problem| format!("prefix part {problem}")));
            }
            name
        }
        _ => {
            let form = with_regex(QUALIFIED_MESSAGE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        problems.push(format!("name part {}", too_long(LABEL_MAX, "bytes")));
    }
    if !has_form(name, |c| c.is_ascii_alphanumeric(), &['-', '_', '.']) {
        let form = with_regex(QUALIFIED_MESSAGE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        problems.push(format!("name part {form}"));
    }
    problems
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > LABEL_MAX {
        problems.push(too_long(LABEL_MAX, "bytes"));
    }
    if !text.is_empty() && !has_form(text, |c| c.is_ascii_alphanumeric(), &['-', '_', '.']) {
        let message = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                       and must start and end with an alphanumeric character";
        problems.push(with_regex(message, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    problems
}

/// An identifier of the language C.
pub fn c_identifier(text: &str) -> Vec<String> {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    if text.starts_with(is_start) && text.chars().all(|c| is_start(c) || c.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid C identifier must start with alphabetic character or '_', \
                   followed by a string of alphanumeric characters or '_'";
    vec![with_regex(message, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// A domain name of at least two labels; `None` if it is one, else Kubernetes' text about `path`.
pub fn fully_qualified_domain_name(path: &str, text: &str) -> Option<String> {
    use crate::go_text::quote;
    let invalid = |value: &str, detail: &str| Some(format!("{path}: Invalid value: {}: {detail}", quote(value)));
    if text.is_empty() {
        return Some(format!("{path}: Required value"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let problems = dns1123_subdomain(name);
    if !problems.is_empty() {
        return invalid(name, &problems.join(","));
    }
    if !name.contains('.') {
        return invalid(name, "should be a domain with at least two segments separated by dots");
    }
    name.split('.').find_map(|label| {
        let problems = dns1123_label(label);
        if problems.is_empty() { None } else { invalid(label, &problems.join(",")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_no_problem() {
        assert!(dns1035_label("hello-1").is_empty());
        assert!(dns1035_label_prefix("hello-").is_empty());
        assert!(dns1123_label("1-hello").is_empty());
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert!(qualified_name("example.com/My_Name").is_empty());
        assert!(label_value("").is_empty() && label_value("a.B_c").is_empty());
        assert!(c_identifier("_a1").is_empty());
        assert_eq!(fully_qualified_domain_name("name", "a.example.com."), None);
    }

    #[test]
    fn bad_names_are_told_in_kubernetes_words() {
        assert_eq!(
            dns1035_label("1hello"),
            ["a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
              character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
              validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"]
        );
        assert_eq!(
            dns1123_subdomain("foo@bar.baz"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
              start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(qualified_name(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(dns1035_label_prefix("-").len(), 1);
        assert_eq!(
            fully_qualified_domain_name("name", "single").as_deref(),
            Some("name: Invalid value: \"single\": should be a domain with at least two segments separated by dots")
        );
        assert_eq!(fully_qualified_domain_name("name", "").as_deref(), Some("name: Required value"));
    }
}
