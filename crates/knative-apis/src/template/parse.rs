//! Reads a template into nodes.

use super::MAX_DEPTH;
use crate::go_text::quote;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Show(Expr),
    If { branches: Vec<(Expr, Vec<Node>)>, otherwise: Vec<Node> },
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    Field(Vec<String>),
    Text(String),
    Number(i64),
    Bool(bool),
    Call(Function, Vec<Expr>),
}

/// The functions a template may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Index,
    Js,
    Html,
    UrlQuery,
    Eq,
    Ne,
    And,
    Or,
    Not,
    /// The method `Get` of a request's header, which is no name by itself.
    Get,
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "index" => Self::Index,
            "js" => Self::Js,
            "html" => Self::Html,
            "urlquery" => Self::UrlQuery,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Js => "js",
            Self::Html => "html",
            Self::UrlQuery => "urlquery",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Get => "Get",
        }
    }

    /// How many arguments it takes, at least and at most.
    fn arity(self) -> (usize, usize) {
        match self {
            Self::Index | Self::Ne | Self::Get => (2, 2),
            Self::Js | Self::Html | Self::UrlQuery | Self::Not => (1, 1),
            Self::Eq => (2, usize::MAX),
            Self::And | Self::Or => (1, usize::MAX),
        }
    }
}

/// A line number and what is wrong there.
type Problem = (usize, String);

enum Piece {
    Text(String),
    Action(String, usize),
}

/// One open `if`, while it is being read.
struct Open {
    line: usize,
    branches: Vec<(Expr, Vec<Node>)>,
    otherwise: Option<Vec<Node>>,
}

impl Open {
    fn body(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.otherwise {
            Some(body) => Some(body),
            None => self.branches.last_mut().map(|(_, body)| body),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, Problem> {
    let mut done = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for piece in pieces(text)? {
        let node = match piece {
            Piece::Text(text) => Some(Node::Text(text)),
            Piece::Action(action, line) => read_action(&action, line, &mut open)?,
        };
        let Some(node) = node else { continue };
        match open.last_mut().and_then(Open::body) {
            Some(body) => body.push(node),
            None => done.push(node),
        }
    }
    match open.last() {
        Some(unclosed) => Err((unclosed.line, "unexpected EOF: {{if}} without {{end}}".to_owned())),
        None => Ok(done),
    }
}

/// Splits text from actions, and trims where an action says so.
fn pieces(text: &str) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim_next = false;
    loop {
        let (before, after) = rest.split_once("{{").map_or((rest, None), |(before, after)| (before, Some(after)));
        let trim_this = after.is_some_and(|a| a.starts_with("- ") || a.starts_with("-\n") || a.starts_with("-\t"));
        let mut shown = before;
        if trim_next {
            shown = shown.trim_start();
        }
        if trim_this {
            shown = shown.trim_end();
        }
        if !shown.is_empty() {
            pieces.push(Piece::Text(shown.to_owned()));
        }
        line += before.matches('\n').count();
        let Some(after) = after else { return Ok(pieces) };
        let end = action_end(after).ok_or_else(|| (line, "unclosed action".to_owned()))?;
        let (inside, following) = after.split_at(end);
        let mut inside = inside;
        if trim_this {
            inside = inside.get(1..).unwrap_or_default();
        }
        trim_next = inside.ends_with(" -") || inside.ends_with("\n-") || inside.ends_with("\t-");
        if trim_next {
            inside = inside.get(..inside.len() - 1).unwrap_or_default();
        }
        let at = line;
        line += inside.matches('\n').count();
        let inside = inside.trim();
        let is_comment = inside.starts_with("/*") && inside.ends_with("*/");
        if !is_comment {
            pieces.push(Piece::Action(inside.to_owned(), at));
        }
        rest = following.get(2..).unwrap_or_default();
    }
}

/// Where the action ends: at `}}` outside of quotes.
fn action_end(action: &str) -> Option<usize> {
    let mut quoted: Option<char> = None;
    let mut escaped = false;
    for (at, c) in action.char_indices() {
        match quoted {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(quote) if c == quote => quoted = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quoted = Some(c),
            None if action.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            None => {}
        }
    }
    None
}

fn read_action(action: &str, line: usize, open: &mut Vec<Open>) -> Result<Option<Node>, Problem> {
    let fail = |problem: &str| (line, problem.to_owned());
    let word = action.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let rest = action.get(word.len()..).unwrap_or_default().trim();
    match word {
        "if" => {
            if open.len() >= MAX_DEPTH {
                return Err(fail("nested too deeply"));
            }
            let condition = read_expr(rest, line)?;
            open.push(Open { line, branches: vec![(condition, Vec::new())], otherwise: None });
            Ok(None)
        }
        "else" => {
            let current = open.last_mut().filter(|open| open.otherwise.is_none());
            let current = current.ok_or_else(|| fail("unexpected {{else}}"))?;
            match rest.strip_prefix("if ") {
                Some(condition) => current.branches.push((read_expr(condition, line)?, Vec::new())),
                None if rest.is_empty() => current.otherwise = Some(Vec::new()),
                None => return Err(fail("unexpected text after {{else}}")),
            }
            Ok(None)
        }
        "end" if rest.is_empty() => {
            let closed = open.pop().ok_or_else(|| fail("unexpected {{end}}"))?;
            Ok(Some(Node::If { branches: closed.branches, otherwise: closed.otherwise.unwrap_or_default() }))
        }
        "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
            Err((line, format!("{{{{{word}}}}} is not supported here")))
        }
        _ => Ok(Some(Node::Show(read_expr(action, line)?))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Field(Vec<String>),
    Name(String),
    Text(String),
    Number(i64),
    Open,
    Close,
}

fn read_expr(text: &str, line: usize) -> Result<Expr, Problem> {
    let tokens = tokens(text).map_err(|problem| (line, problem))?;
    let mut rest = tokens.as_slice();
    let expr = command(&mut rest, 0).map_err(|problem| (line, problem))?;
    if rest.is_empty() { Ok(expr) } else { Err((line, format!("unexpected text in {}", quote(text)))) }
}

/// A function or method with its arguments, or a single operand.
fn command(rest: &mut &[Token], depth: usize) -> Result<Expr, String> {
    if let Some((header, arguments)) = get_of_header(rest) {
        *rest = arguments;
        return Ok(Expr::Call(Function::Get, vec![header, operand(rest, depth)?]));
    }
    let Some(Token::Name(name)) = rest.first() else { return operand(rest, depth) };
    let Some(function) = Function::named(name) else { return operand(rest, depth) };
    *rest = rest.get(1..).unwrap_or_default();
    let mut arguments = Vec::new();
    while !matches!(rest.first(), None | Some(Token::Close)) {
        arguments.push(operand(rest, depth)?);
    }
    let (least, most) = function.arity();
    if !(least..=most).contains(&arguments.len()) {
        return Err(format!("wrong number of args for {name}: got {}", arguments.len()));
    }
    Ok(Expr::Call(function, arguments))
}

/// What `Get` is called of, and what follows; none if it is not called.
fn get_of_header(rest: &[Token]) -> Option<(Expr, &[Token])> {
    let (Token::Field(path), arguments) = rest.split_first()? else { return None };
    let (method, header) = path.split_last()?;
    let is_called = method == Function::Get.name() && !matches!(arguments.first(), None | Some(Token::Close));
    (is_called && !header.is_empty()).then(|| (Expr::Field(header.to_vec()), arguments))
}

fn operand(rest: &mut &[Token], depth: usize) -> Result<Expr, String> {
    let (first, others) = rest.split_first().ok_or("missing value for command")?;
    *rest = others;
    match first {
        Token::Field(path) => Ok(Expr::Field(path.clone())),
        Token::Text(text) => Ok(Expr::Text(text.clone())),
        Token::Number(number) => Ok(Expr::Number(*number)),
        Token::Name(name) if name == "true" => Ok(Expr::Bool(true)),
        Token::Name(name) if name == "false" => Ok(Expr::Bool(false)),
        Token::Name(name) => Err(format!("function {} not defined", quote(name))),
        Token::Close => Err("unexpected right paren".to_owned()),
        Token::Open if depth >= MAX_DEPTH => Err("nested too deeply".to_owned()),
        Token::Open => {
            let inner = command(rest, depth + 1)?;
            match rest.split_first() {
                Some((Token::Close, others)) => {
                    *rest = others;
                    Ok(inner)
                }
                _ => Err("unclosed left paren".to_owned()),
            }
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, rest.get(1..).unwrap_or_default()),
            ')' => (Token::Close, rest.get(1..).unwrap_or_default()),
            '.' => field(rest)?,
            '"' => quoted(rest)?,
            '`' => raw(rest)?,
            '-' | '0'..='9' => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let (name, after) = split_word(rest);
                (Token::Name(name.to_owned()), after)
            }
            '|' => return Err("pipelines are not supported here".to_owned()),
            '$' => return Err("variables are not supported here".to_owned()),
            c => return Err(format!("unexpected {} in command", quote(&c.to_string()))),
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()))
}

fn field(text: &str) -> Result<(Token, &str), String> {
    let mut path = Vec::new();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('.') {
        let (name, after) = split_word(after);
        if name.is_empty() {
            return Err(format!("unexpected {} in operand", quote(".")));
        }
        path.push(name.to_owned());
        rest = after;
    }
    Ok((Token::Field(path), rest))
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                _ => return Err("bad escape in quoted string".to_owned()),
            },
            c => out.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn raw(text: &str) -> Result<(Token, &str), String> {
    let inside = text.get(1..).unwrap_or_default();
    let (inside, after) = inside.split_once('`').ok_or("unterminated raw quoted string")?;
    Ok((Token::Text(inside.to_owned()), after))
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let digits = text.get(1..).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()) + 1;
    let (number, after) = text.split_at(end);
    let value = number.parse().map_err(|_| format!("bad number syntax: {}", quote(number)))?;
    Ok((Token::Number(value), after))
}
