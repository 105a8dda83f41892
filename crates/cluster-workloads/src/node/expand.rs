//! `$(NAME)` in commands, arguments and values of variables.
//!
//! A name that is not known stays as it stands; `$$` is one `$`, so `$$(NAME)` is the text `$(NAME)`.
//! Specified by: Kubernetes' `third_party/forked/golang/expansion`.

/// `text` with what `value_of` knows.
pub(crate) fn expand<'a>(text: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        rest = from.get(1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn rows() {
        let rows = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("$(A)$(B)", "ab"),
            ("x$(A)y", "xay"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$(C)", "$(C)"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("a$", "a$"),
            ("$()", "$()"),
        ];
        for (text, expected) in rows {
            let value = |name: &str| match name {
                "A" => Some("a"),
                "B" => Some("b"),
                _ => None,
            };
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }
}
