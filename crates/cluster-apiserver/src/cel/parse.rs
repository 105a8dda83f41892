//! From tokens to the tree: CEL's grammar, by precedence climbing, with its macros and the optional syntax.

use super::ast::{Entry, Expr, Fold, FoldKind, Node};
use super::lex::{Kind, Token, is_reserved, tokens};
use super::problems::Problem;

/// Deeper expressions are refused, because all that is done with them recurses.
const MAX_DEPTH: u16 = 100;

/// Operators of two sides, and how tightly they bind.
const BINARY: [(&str, &str, u8); 14] = [
    ("||", "_||_", 1),
    ("&&", "_&&_", 2),
    ("==", "_==_", 3),
    ("!=", "_!=_", 3),
    ("<", "_<_", 3),
    ("<=", "_<=_", 3),
    (">", "_>_", 3),
    (">=", "_>=_", 3),
    ("in", "@in", 3),
    ("+", "_+_", 4),
    ("-", "_-_", 4),
    ("*", "_*_", 5),
    ("/", "_/_", 5),
    ("%", "_%_", 5),
];

/// Parses a whole expression.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let mut parser = Parser { tokens: tokens(source)?, next: 0, nesting: 0 };
    let node = parser.ternary()?;
    match parser.peek().kind {
        Kind::End => Ok(node),
        _ => Err(parser.unexpected("extraneous", "<EOF>")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    nesting: u16,
}

type Parsed = Result<Node, Problem>;

impl Parser {
    fn peek(&self) -> &Token {
        const END: &Token = &Token { at: 0, kind: Kind::End };
        self.tokens.get(self.next).or(self.tokens.last()).unwrap_or(END)
    }

    fn is_at(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(found) if found == sign)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let is_here = self.is_at(sign);
        self.next += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, sign: &str) -> Result<(), Problem> {
        if self.accept(sign) { Ok(()) } else { Err(self.unexpected("mismatched", &format!("'{sign}'"))) }
    }

    fn unexpected(&self, how: &str, wanted: &str) -> Problem {
        let token = self.peek();
        let found = match &token.kind {
            Kind::End => "<EOF>".to_owned(),
            Kind::Sign(sign) => (*sign).to_owned(),
            Kind::Ident(name) => name.to_string(),
            Kind::Int(number) | Kind::Uint(number) => number.to_string(),
            Kind::Double(number) => number.to_string(),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::Bytes(_) => "bytes".to_owned(),
        };
        Problem { at: token.at, text: format!("Syntax error: {how} input '{found}' expecting {wanted}") }
    }

    fn ternary(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            return Err(too_deep(self.peek().at));
        }
        let condition = self.binary(1)?;
        let at = self.peek().at;
        let node = if self.accept("?") {
            let yes = self.binary(1)?;
            self.expect(":")?;
            let no = self.ternary()?;
            call(at, "_?_:_", vec![condition, yes, no])?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(node)
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let Kind::Sign(sign) = self.peek().kind else { return Ok(left) };
            let Some((_, name, power)) = BINARY.into_iter().find(|row| row.0 == sign && row.2 >= least) else {
                return Ok(left);
            };
            if power > 2 {
                let at = self.peek().at;
                self.next += 1;
                let right = self.binary(power + 1)?;
                left = call(at, name, vec![left, right])?;
                continue;
            }
            // A long chain of these is common; it becomes a shallow tree.
            let (mut terms, mut places) = (vec![left], Vec::new());
            while self.is_at(sign) {
                places.push(self.peek().at);
                self.next += 1;
                terms.push(self.binary(power + 1)?);
            }
            left = balance(name, terms, &places)?;
        }
    }

    fn unary(&mut self) -> Parsed {
        let at = self.peek().at;
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            if !self.is_at(sign) {
                continue;
            }
            let mut count = 0;
            while self.accept(sign) {
                count += 1;
            }
            if sign == "-"
                && count % 2 == 1
                && let Some(literal) = self.negative_literal(at)
            {
                return self.member(literal);
            }
            let operand = self.operand()?;
            return if count % 2 == 1 { call(at, name, vec![operand]) } else { Ok(operand) };
        }
        self.operand()
    }

    fn negative_literal(&mut self, at: u32) -> Option<Node> {
        let expr = match self.peek().kind {
            Kind::Int(value) => Expr::Int(0_i64.checked_sub_unsigned(value)?),
            Kind::Double(value) => Expr::Double(-value),
            _ => return None,
        };
        self.next += 1;
        Some(leaf(at, expr))
    }

    fn operand(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.member(primary)
    }

    fn member(&mut self, mut node: Node) -> Parsed {
        loop {
            let at = self.peek().at;
            if self.accept(".") {
                let is_optional = self.accept("?");
                let name = self.name()?;
                let open = self.peek().at;
                node = if is_optional {
                    nested(at, Expr::OptionalSelect(Box::new(node), name))?
                } else if self.accept("(") {
                    let args = self.arguments(")")?;
                    method(open, node, name, args)?
                } else {
                    nested(at, Expr::Select(Box::new(node), name))?
                };
            } else if self.accept("[") {
                let name = if self.accept("?") { "_[?_]" } else { "_[_]" };
                let index = self.ternary()?;
                self.expect("]")?;
                node = call(at, name, vec![node, index])?;
            } else {
                return Ok(node);
            }
        }
    }

    fn name(&mut self) -> Result<Box<str>, Problem> {
        let name = match &self.peek().kind {
            Kind::Ident(name) => name.clone(),
            Kind::Sign("in") => "in".into(),
            _ => return Err(self.unexpected("mismatched", "IDENTIFIER")),
        };
        self.next += 1;
        Ok(name)
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Node>, Problem> {
        let mut args = Vec::new();
        while !self.accept(end) {
            args.push(self.ternary()?);
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let Token { at, kind } = self.peek().clone();
        let expr = match kind {
            Kind::Int(value) => {
                let value = i64::try_from(value);
                Expr::Int(value.map_err(|_| Problem { at, text: "invalid int literal".to_owned() })?)
            }
            Kind::Uint(value) => Expr::Uint(value),
            Kind::Double(value) => Expr::Double(value),
            Kind::Text(text) => Expr::Text(text),
            Kind::Bytes(bytes) => Expr::Bytes(bytes),
            Kind::Sign("true") => Expr::Bool(true),
            Kind::Sign("false") => Expr::Bool(false),
            Kind::Sign("null") => Expr::Null,
            Kind::Sign("(") => {
                self.next += 1;
                let node = self.ternary()?;
                self.expect(")")?;
                return Ok(node);
            }
            Kind::Sign("[") => return self.list(at),
            Kind::Sign("{") => return self.map(at),
            Kind::Sign(".") => {
                self.next += 1;
                return self.identifier();
            }
            Kind::Ident(_) => return self.identifier(),
            Kind::Sign(_) | Kind::End => {
                let wanted = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
                return Err(self.unexpected("mismatched", wanted));
            }
        };
        self.next += 1;
        Ok(leaf(at, expr))
    }

    fn identifier(&mut self) -> Parsed {
        let at = self.peek().at;
        let name = self.name()?;
        if is_reserved(&name) {
            return Err(Problem { at, text: format!("Syntax error: reserved identifier: {name}") });
        }
        let open = self.peek().at;
        if !self.accept("(") {
            return Ok(leaf(at, Expr::Ident(name)));
        }
        let args = self.arguments(")")?;
        if name.as_ref() != "has" {
            return call(open, &name, args);
        }
        match <[Node; 1]>::try_from(args) {
            Ok([Node { expr: Expr::Select(operand, field), .. }]) => nested(open, Expr::Has(operand, field)),
            _ => Err(Problem { at: open, text: "invalid argument to has() macro".to_owned() }),
        }
    }

    fn list(&mut self, at: u32) -> Parsed {
        self.next += 1;
        let mut items = Vec::new();
        while !self.accept("]") {
            let is_optional = self.accept("?");
            items.push(Entry { is_optional, value: self.ternary()? });
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        nested(at, Expr::List(items))
    }

    fn map(&mut self, at: u32) -> Parsed {
        self.next += 1;
        let mut entries = Vec::new();
        while !self.accept("}") {
            let is_optional = self.accept("?");
            let key = self.ternary()?;
            self.expect(":")?;
            entries.push(Entry { is_optional, value: (key, self.ternary()?) });
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        nested(at, Expr::Map(entries))
    }
}

fn leaf(at: u32, expr: Expr) -> Node {
    Node { at, depth: 0, expr }
}

fn too_deep(at: u32) -> Problem {
    Problem { at, text: format!("expression recursion limit exceeded: {MAX_DEPTH}") }
}

fn nested(at: u32, expr: Expr) -> Parsed {
    let mut node = leaf(at, expr);
    node.depth = node.children().iter().map(|child| child.depth + 1).max().unwrap_or_default();
    if node.depth > MAX_DEPTH { Err(too_deep(at)) } else { Ok(node) }
}

fn call(at: u32, name: &str, args: Vec<Node>) -> Parsed {
    nested(at, Expr::Call { name: name.into(), target: None, args })
}

fn balance(name: &str, mut terms: Vec<Node>, places: &[u32]) -> Parsed {
    let Some(middle) = places.get(places.len() / 2) else {
        return terms.pop().ok_or_else(|| too_deep(0));
    };
    let split = places.len() / 2;
    let right = terms.split_off(split + 1);
    let left = balance(name, terms, places.get(..split).unwrap_or_default())?;
    let right = balance(name, right, places.get(split + 1..).unwrap_or_default())?;
    call(*middle, name, vec![left, right])
}

/// A call on a receiver, unless it is a macro.
fn method(at: u32, target: Node, name: Box<str>, args: Vec<Node>) -> Parsed {
    let Some((kind, variables, has_filter)) = macro_form(&name, args.len()) else {
        // The functions of a namespace, such as `optional.of`.
        if let Expr::Ident(space) = &target.expr
            && matches!(space.as_ref(), "optional" | "sets" | "format" | "lists" | "strings" | "math")
        {
            return call(at, &format!("{space}.{name}"), args);
        }
        if matches!((&target.expr, name.as_ref()), (Expr::Ident(space), "isCanonical") if space.as_ref() == "ip") {
            return call(at, "ip.isCanonical", args);
        }
        return nested(at, Expr::Call { name, target: Some(Box::new(target)), args });
    };
    let mut args = args.into_iter();
    let mut names = Vec::new();
    for node in args.by_ref().take(variables) {
        match node.expr {
            Expr::Ident(name) => names.push(name),
            _ => return Err(Problem { at: node.at, text: "argument is not an identifier".to_owned() }),
        }
    }
    let filter = if has_filter { args.next() } else { None };
    let mut names = names.into_iter();
    let (Some(first), second, Some(body)) = (names.next(), names.next(), args.next()) else {
        return Err(Problem { at, text: format!("invalid arguments to {name}() macro") });
    };
    nested(at, Expr::Fold(Box::new(Fold { kind, range: target, first, second, filter, body })))
}

/// The macro that a call is: what it does, how many variables it names, and whether it filters.
fn macro_form(name: &str, args: usize) -> Option<(FoldKind, usize, bool)> {
    use FoldKind::{
        All, Exists, ExistsOne, Filter, Map, OptFlatMap, OptMap, SortBy, TransformList, TransformMap, TransformMapEntry,
    };
    Some(match (name, args) {
        ("all", 2 | 3) => (All, args - 1, false),
        ("exists", 2 | 3) => (Exists, args - 1, false),
        ("exists_one", 2) => (ExistsOne, 1, false),
        ("existsOne", 2 | 3) => (ExistsOne, args - 1, false),
        ("map", 2 | 3) => (Map, 1, args == 3),
        ("filter", 2) => (Filter, 1, false),
        ("transformList", 3 | 4) => (TransformList, 2, args == 4),
        ("transformMap", 3 | 4) => (TransformMap, 2, args == 4),
        ("transformMapEntry", 3 | 4) => (TransformMapEntry, 2, args == 4),
        ("sortBy", 2) => (SortBy, 1, false),
        ("optMap", 2) => (OptMap, 1, false),
        ("optFlatMap", 2) => (OptFlatMap, 1, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(source: &str) -> (u32, String) {
        let problem = parse(source).expect_err("an error");
        (problem.at, problem.text)
    }

    #[test]
    fn operators_bind_as_they_should() {
        let node = parse("1 + 2 * 3 == 7 && !a.b || c ? [1, ?d] : {'k': -1}").expect("parsed");
        let Expr::Call { name, args, .. } = &node.expr else { unreachable!() };
        assert_eq!((name.as_ref(), args.len()), ("_?_:_", 3));
        let Expr::Call { name, .. } = &args[0].expr else { unreachable!() };
        assert_eq!(name.as_ref(), "_||_");
        assert!(parse("self.a.all(x, x > 0 && self.b[?0].orValue(1) == 1)").expect("parsed").reads("self"));
        assert!(!parse("[1].all(self, self > 0)").expect("parsed").reads("self"));
    }

    #[test]
    fn what_is_no_expression() {
        assert_eq!(problem("1 +").0, 3);
        assert!(problem("1 +").1.starts_with("Syntax error: mismatched input '<EOF>' expecting {'['"));
        assert_eq!(problem("a b"), (2, "Syntax error: extraneous input 'b' expecting <EOF>".to_owned()));
        assert_eq!(problem("has(a)"), (3, "invalid argument to has() macro".to_owned()));
        assert_eq!(problem("a.all(1, true)"), (6, "argument is not an identifier".to_owned()));
        assert_eq!(problem("for"), (0, "Syntax error: reserved identifier: for".to_owned()));
        assert!(problem(&"(".repeat(10_000)).1.contains("recursion limit"));
        assert!(problem(&"!".repeat(10_000)).1.contains("EOF"));
        let plus = vec!["1"; 1000].join(" + ");
        assert!(problem(&plus).1.contains("recursion limit"));
        assert!(parse(&vec!["a"; 1000].join(" && ")).is_ok());
        let list = "[".repeat(99) + &"]".repeat(99);
        assert!(parse(&list).is_ok());
    }
}
