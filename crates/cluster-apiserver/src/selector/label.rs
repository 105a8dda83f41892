//! Label selectors: `a=b,c!=d,e in (f,g),!h`, with Kubernetes' grammar and texts.
//!
//! Specified by apimachinery's `labels.Parse`. Selectors inside objects (`matchLabels`, `matchExpressions`) become the same requirements.

use serde_json::Value;

use crate::field_error::quote;
use crate::names;
use crate::store::Labels;

/// Longer selectors are refused.
const MAX_LENGTH: usize = 64 << 10;

/// A selector that does not parse; the text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses a `labelSelector` parameter; an empty one selects everything.
    ///
    /// # Errors
    /// The text is not a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_LENGTH {
            return Err(SelectorError(format!("selector is longer than {MAX_LENGTH} bytes")));
        }
        Parser { rest: text }.selector().map(Self)
    }

    /// The selector of an object: `matchLabels` and `matchExpressions`. One that cannot be read selects nothing.
    pub fn of_object(selector: &Value) -> Option<Self> {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let values = vec![value.as_str()?.to_owned()];
            requirements.push(Requirement { key: key.clone(), test: Test::In(values) });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match expression.get("operator").and_then(Value::as_str)? {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return None,
            };
            requirements.push(Requirement { key: expression.get("key")?.as_str()?.to_owned(), test });
        }
        Some(Self(requirements))
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels are selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|unwanted| unwanted != value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    Open,
    Close,
    Not,
    Operator,
    Identifier,
    Error,
}

/// Which words are operators depends on where they stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Values,
    Operators,
}

struct Parser<'a> {
    rest: &'a str,
}

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek(Expect::Values) {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement();
                    requirements
                        .push(requirement.map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?);
                }
                (Token::End, _) => return Ok(requirements),
                (_, found) => return Err(unexpected(found, "!, identifier, or 'end of string'")),
            }
            match self.take(Expect::Values) {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => match self.peek(Expect::Values) {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, found) => return Err(unexpected(found, "identifier after ','")),
                },
                (_, found) => return Err(unexpected(found, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut first = self.take(Expect::Values);
        let is_negated = first.0 == Token::Not;
        if is_negated {
            first = self.take(Expect::Values);
        }
        let (Token::Identifier, key) = first else { return Err(unexpected(first.1, "identifier")) };
        if let Some(wrong) = names::qualified_name(key).first() {
            return Err(SelectorError(format!("<nil>: Invalid value: {}: {wrong}", quote(key))));
        }
        let key = key.to_owned();
        let ends = matches!(self.peek(Expect::Values).0, Token::End | Token::Comma);
        if is_negated {
            return Ok(Requirement { key, test: Test::Absent });
        }
        if ends {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = match self.take(Expect::Operators) {
            (Token::Operator, "in") => Test::In(self.values(&key)?),
            (Token::Operator, "notin") => Test::NotIn(self.values(&key)?),
            (Token::Operator, "=" | "==") => Test::In(vec![self.value(&key)?]),
            (Token::Operator, "!=") => Test::NotIn(vec![self.value(&key)?]),
            (Token::Operator, ">" | "gt") => Test::Greater(self.number(&key)?),
            (Token::Operator, "<" | "lt") => Test::Less(self.number(&key)?),
            (_, found) => return Err(unexpected(found, OPERATORS)),
        };
        Ok(Requirement { key, test })
    }

    fn value(&mut self, key: &str) -> Result<String, SelectorError> {
        let value = match self.peek(Expect::Values) {
            (Token::End | Token::Comma, _) => "",
            _ => match self.take(Expect::Values) {
                (Token::Identifier, value) => value,
                (_, found) => return Err(unexpected(found, "identifier")),
            },
        };
        check_value(key, 0, value)?;
        Ok(value.to_owned())
    }

    fn number(&mut self, key: &str) -> Result<i64, SelectorError> {
        let value = self.value(key)?;
        let wrong = || {
            format!(
                "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                quote(&value)
            )
        };
        value.parse().map_err(|_| SelectorError(wrong()))
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, SelectorError> {
        match self.take(Expect::Values) {
            (Token::Open, _) => {}
            (_, found) => return Err(SelectorError(format!("found '{found}' expected: '('"))),
        }
        let mut values: Vec<String> = Vec::new();
        let mut is_after_value = false;
        loop {
            match self.take(Expect::Values) {
                (Token::Identifier, value) if !is_after_value => {
                    check_value(key, values.len(), value)?;
                    values.push(value.to_owned());
                    is_after_value = true;
                }
                (Token::Comma, _) if is_after_value => is_after_value = false,
                // An empty item is the empty value.
                (Token::Comma, _) => values.push(String::new()),
                (Token::Close, _) => {
                    if !is_after_value {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                (_, found) if is_after_value => return Err(unexpected(found, "',' or ')'")),
                (_, found) => return Err(unexpected(found, "',', ')' or identifier")),
            }
        }
    }

    fn peek(&self, expect: Expect) -> (Token, &'a str) {
        Parser { rest: self.rest }.take(expect)
    }

    fn take(&mut self, expect: Expect) -> (Token, &'a str) {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            self.rest = rest;
            return (Token::End, "");
        };
        let length = if is_special(first) {
            rest.find(|c| !is_operator(c)).unwrap_or(rest.len()).clamp(1, 2)
        } else {
            rest.find(|c: char| is_special(c) || c.is_ascii_whitespace()).unwrap_or(rest.len())
        };
        let (token, rest) = rest.split_at_checked(length).unwrap_or((rest, ""));
        self.rest = rest;
        let kind = match token {
            "," => Token::Comma,
            "(" => Token::Open,
            ")" => Token::Close,
            "!" => Token::Not,
            "=" | "==" | "!=" | ">" | "<" => Token::Operator,
            "in" | "notin" | "gt" | "lt" if expect == Expect::Operators => Token::Operator,
            _ if is_special(first) => Token::Error,
            _ => Token::Identifier,
        };
        (kind, token)
    }
}

fn is_operator(c: char) -> bool {
    matches!(c, '=' | '!' | '>' | '<')
}

fn is_special(c: char) -> bool {
    is_operator(c) || matches!(c, '(' | ')' | ',')
}

fn unexpected(found: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{found}', expected: {expected}"))
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), SelectorError> {
    match names::label_value(value).first() {
        Some(wrong) => Err(SelectorError(format!("values[{index}][{key}]: Invalid value: {}: {wrong}", quote(value)))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).expect(selector).matches(&Labels::pack(labels.iter().copied()))
    }

    #[test]
    fn the_grammar_of_kubernetes() {
        let labels = [("a", "1"), ("b", "x"), ("example.com/in", "")];
        for selector in [
            "",
            "a",
            "a=1",
            "a==1",
            "a!=2",
            "c!=2",
            "!c",
            "! c",
            "a in (1,2)",
            "a in(2, 1)",
            "c notin (1)",
            "a gt 0",
            "a<2",
            "a=1,b=x",
            "b in (x),a",
            "example.com/in=",
            "example.com/in in ()",
            "example.com/in in (,z)",
        ] {
            assert!(selects(selector, &labels), "{selector}");
        }
        for selector in ["c", "a=2", "a!=1", "!a", "a in (2)", "a notin (1)", "c gt 0", "a>1", "a,c", "a=1,b=y"] {
            assert!(!selects(selector, &labels), "{selector}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_kubernetes_says_it() {
        let error = |selector: &str| LabelSelector::parse(selector).expect_err(selector).0;
        assert_eq!(error("a b c"), "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        assert_eq!(error("a=1,"), "found '', expected: identifier after ','");
        assert_eq!(error(",a"), "found ',', expected: !, identifier, or 'end of string'");
        assert_eq!(error("a in 1"), "unable to parse requirement: found '1' expected: '('");
        assert_eq!(error("a in (1"), "unable to parse requirement: found '', expected: ',' or ')'");
        assert!(error("a=b c").starts_with("found 'c', expected: ',' or"));
        assert!(error("a=-").starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\""));
        assert!(error("-=a").starts_with("unable to parse requirement: <nil>: Invalid value"));
        assert!(LabelSelector::parse(&"a,".repeat(1 << 20)).is_err());
        for odd in ["(((", "=", "!", "a=\u{1f600}", "é", "a in (é)"] {
            assert!(LabelSelector::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_objects_selector() {
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["z"]}]});
        let selector = LabelSelector::of_object(&selector).expect("selector");
        assert!(selector.matches(&Labels::pack([("a", "1"), ("b", "x")])));
        assert!(!selector.matches(&Labels::pack([("a", "1"), ("b", "z")])));
        assert!(LabelSelector::of_object(&json!({"matchExpressions": [{"key": "b", "operator": "Like"}]})).is_none());
    }
}
