//! Templates as operators write them.

use super::*;

struct Route {
    annotations: BTreeMap<String, String>,
}

impl Fields for Route {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["Name"] => Some(Value::from("hello")),
            ["Namespace"] => Some(Value::from("default")),
            ["Domain"] => Some(Value::from("example.com")),
            ["Response", "Code"] => Some(Value::Number(200)),
            ["Response", "Latency"] => Some(Value::Float(0.25)),
            ["Header"] => Some(Value::Lists([("Accept".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into())),
            ["Annotations"] => Some(Value::Map(&self.annotations)),
            _ => None,
        }
    }
}

fn run(text: &str) -> Result<String, TemplateError> {
    let annotations = BTreeMap::from([("sub".to_owned(), "s1".to_owned()), ("app".to_owned(), "a<b".to_owned())]);
    Template::parse("domain-template", text)?.execute(&Route { annotations })
}

#[test]
fn fields_maps_and_functions() {
    for (text, want) in [
        ("{{.Name}}.{{.Namespace}}.{{.Domain}}", "hello.default.example.com"),
        ("{{ .Name }}-{{index .Annotations \"sub\"}}.{{.Domain}}", "hello-s1.example.com"),
        ("[{{index .Annotations `none`}}]", "[]"),
        ("{{.Annotations.sub}} {{.Annotations.none}}", "s1 <no value>"),
        ("{{js .Annotations.app}} {{html .Annotations.app}} {{urlquery \"a b/c\"}}", "a\\u003Cb a&lt;b a+b%2Fc"),
        ("{{.Response.Code}} {{.Response.Latency}}s", "200 0.25s"),
        ("{{index .Header \"Accept\"}} {{index .Header \"X\"}} {{.Header}}", "[a b] [] map[Accept:[a b]]"),
        ("{{if index .Header \"X\"}}yes{{else}}no{{end}}", "no"),
        ("{{.Header.Get \"accept\"}} {{js (.Header.Get \"X\")}}", "a "),
        ("a  {{- .Name -}}  b", "ahellob"),
        ("a{{/* not shown */}}b", "ab"),
        ("{{\"}}\"}}", "}}"),
        ("plain", "plain"),
    ] {
        assert_eq!(run(text).expect(text), want);
    }
}

#[test]
fn conditions() {
    for (text, want) in [
        ("{{if index .Annotations \"sub\"}}yes{{else}}no{{end}}", "yes"),
        ("{{if index .Annotations \"x\"}}yes{{else}}no{{end}}", "no"),
        ("{{if eq .Namespace \"a\" \"default\"}}in{{end}}", "in"),
        ("{{if ne .Name \"hello\"}}1{{else if and .Name (not false)}}2{{else}}3{{end}}", "2"),
        ("{{or \"\" .Name}}", "hello"),
        ("{{if eq .Response.Code 200}}ok{{end}}", "ok"),
    ] {
        assert_eq!(run(text).expect(text), want);
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    for (text, part) in [
        ("{{.Name", "template: domain-template:1: unclosed action"),
        ("a\nb {{foo .Name}}", "template: domain-template:2: function \"foo\" not defined"),
        ("{{.Name | js}}", "pipelines are not supported"),
        ("{{$x := 1}}", "variables are not supported"),
        ("{{range .Annotations}}{{end}}", "{{range}} is not supported"),
        ("{{if .Name}}", "without {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{index .Annotations}}", "wrong number of args for index"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{}}", "missing value for command"),
        ("{{.Name .Domain}}", "unexpected text"),
    ] {
        let error = run(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(matches!(run(&"a".repeat(MAX_TEMPLATE + 1)), Err(TemplateError::TooLong { .. })));
    assert!(run(&format!("{}.Name{}", "{{".to_owned() + &"(".repeat(100), ")".repeat(100) + "}}")).is_err());
}

#[test]
fn a_field_that_is_not_there_is_an_error() {
    assert_eq!(
        run("{{.Nope}}").expect_err("no such field").to_string(),
        "template: domain-template: executing \"domain-template\" at <.Nope>: can't evaluate field Nope"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_it(text in "[{}a. \"`()|$/*\n-]{0,60}") {
        let _ = run(&text);
    }
}
