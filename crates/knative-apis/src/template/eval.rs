//! Fills a template in.

use super::parse::{Expr, Function, Node};
use super::{Fields, Value};
use crate::go_text;
use std::borrow::Cow;
use std::fmt::Write;

/// The expression that failed, and why.
type Failure = (String, String);

pub(super) fn run(nodes: &[Node], fields: &dyn Fields, out: &mut String) -> Result<(), Failure> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Show(expr) => out.push_str(&show(&eval(expr, fields)?)),
            Node::If { branches, otherwise } => {
                let mut taken = otherwise;
                for (condition, body) in branches {
                    if is_true(&eval(condition, fields)?) {
                        taken = body;
                        break;
                    }
                }
                run(taken, fields, out)?;
            }
        }
    }
    Ok(())
}

fn eval<'a>(expr: &'a Expr, fields: &'a dyn Fields) -> Result<Value<'a>, Failure> {
    match expr {
        Expr::Text(text) => Ok(Value::from(text.as_str())),
        Expr::Number(number) => Ok(Value::Number(*number)),
        Expr::Bool(truth) => Ok(Value::Bool(*truth)),
        Expr::Field(path) => field(path, fields),
        Expr::Call(function, arguments) => call(*function, arguments, fields),
    }
}

/// A field, or what a map among the fields holds under the rest of the path.
fn field<'a>(path: &'a [String], fields: &'a dyn Fields) -> Result<Value<'a>, Failure> {
    if let Some(value) = fields.field(path) {
        return Ok(value);
    }
    if let Some((key, before)) = path.split_last()
        && let Some(Value::Map(map)) = fields.field(before)
    {
        return Ok(Value::from(map.get(key).map_or("<no value>", String::as_str)));
    }
    let expression = path.iter().fold(String::new(), |text, name| text + "." + name);
    let problem = format!("can't evaluate field {}", path.first().map_or("", String::as_str));
    Err((expression, problem))
}

fn call<'a>(function: Function, arguments: &'a [Expr], fields: &'a dyn Fields) -> Result<Value<'a>, Failure> {
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let value = eval(argument, fields)?;
        let decided = match function {
            Function::And => !is_true(&value),
            Function::Or => is_true(&value),
            _ => false,
        };
        values.push(value);
        if decided {
            break;
        }
    }
    let last = values.last().cloned().unwrap_or(Value::Bool(false));
    Ok(match function {
        Function::And | Function::Or => last,
        Function::Not => Value::Bool(!is_true(&last)),
        Function::Js => Value::Text(js(&show(&last)).into()),
        Function::Html => Value::Text(html(&show(&last)).into()),
        Function::UrlQuery => Value::Text(url_query(&show(&last)).into()),
        Function::Eq => Value::Bool(values.iter().skip(1).any(|value| Some(value) == values.first())),
        Function::Ne => Value::Bool(values.first() != values.get(1)),
        Function::Index => return index(&values, function),
        Function::Get => return get(&values),
    })
}

fn index<'a>(values: &[Value<'a>], function: Function) -> Result<Value<'a>, Failure> {
    match values {
        [Value::Map(map), Value::Text(key)] => Ok(Value::from(map.get(&**key).map_or("", String::as_str))),
        [Value::Lists(map), Value::Text(key)] => Ok(Value::List(map.get(&**key).cloned().unwrap_or_default())),
        _ => Err((function.name().to_owned(), "index needs a map and a text".to_owned())),
    }
}

/// The first value of a field of a header, however its name is written.
fn get<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Failure> {
    match values {
        [Value::Lists(header), Value::Text(name)] => {
            let found = header.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let first = found.and_then(|(_, list)| list.first()).cloned().unwrap_or_default();
            Ok(Value::Text(first.into()))
        }
        _ => Err((Function::Get.name().to_owned(), "only a header has it".to_owned())),
    }
}

fn is_true(value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => !text.is_empty(),
        Value::Number(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Bool(truth) => *truth,
        Value::Map(map) => !map.is_empty(),
        Value::Lists(map) => !map.is_empty(),
        Value::List(list) => !list.is_empty(),
    }
}

fn show<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Number(number) => number.to_string().into(),
        Value::Float(number) => go_text::float(*number).into(),
        Value::Bool(truth) => truth.to_string().into(),
        Value::Map(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("map[{}]", entries.join(" ")).into()
        }
        Value::Lists(map) => {
            let entries: Vec<_> = map.iter().map(|(key, list)| format!("{key}:[{}]", list.join(" "))).collect();
            format!("map[{}]", entries.join(" ")).into()
        }
        Value::List(list) => format!("[{}]", list.join(" ")).into(),
    }
}

/// Escapes for a JavaScript string.
fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Escapes for HTML.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes for the query of a URL.
fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
