//! Whether an expression makes sense, before there is anything to look at: names, fields, and the types that functions take.

use super::ast::{Entry, Expr, Fold, FoldKind, Node};
use super::cost::Types;
use super::keys;
use super::library::Patterns;
use super::problems::Problems;
use super::signatures;
use super::types::{AUTHORIZER, Bindings, RESOURCE_CHECK, Ty, field};

/// The variables of an expression; the last of a name is the one.
pub(super) struct Checker<'s> {
    pub(super) variables: Vec<(Box<str>, Ty<'s>)>,
    pub(super) problems: Problems,
    /// The regular expressions that are written as literals.
    pub(super) patterns: Patterns,
    /// The type of each part that was looked at.
    pub(super) types: Types<'s>,
}

/// Types that can be named as values.
const TYPE_NAMES: [&str; 12] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type", "dyn"];

/// Whether a name, alone, is a type.
pub(super) fn is_type_name(name: &str) -> bool {
    TYPE_NAMES.contains(&name)
}

impl<'s> Checker<'s> {
    fn wrong(&mut self, at: u32, text: String) -> Ty<'s> {
        self.problems.add(at, text);
        Ty::Dyn
    }

    /// The type of an expression; `dyn` for what is wrong, so that one mistake is told once.
    pub(super) fn check(&mut self, node: &Node) -> Ty<'s> {
        let found = self.found(node);
        self.types.insert(std::ptr::from_ref(node), found.clone());
        found
    }

    fn found(&mut self, node: &Node) -> Ty<'s> {
        match &node.expr {
            Expr::Null => Ty::Null,
            Expr::Bool(_) => Ty::Bool,
            Expr::Int(_) => Ty::Int,
            Expr::Uint(_) => Ty::Uint,
            Expr::Double(_) => Ty::Double,
            Expr::Text(_) => Ty::Text,
            Expr::Bytes(_) => Ty::Bytes,
            Expr::Ident(name) => self.variable(node.at, name),
            Expr::Select(operand, name) => {
                if let Some(qualified) = qualified_type(operand, name) {
                    return qualified;
                }
                let operand = self.check(operand);
                self.select(node.at, &operand, name)
            }
            Expr::Has(operand, name) => {
                let operand = self.check(operand);
                self.select(node.at, &operand, name);
                Ty::Bool
            }
            Expr::OptionalSelect(operand, name) => match self.check(operand) {
                Ty::Optional(inner) => optional(self.select(node.at, &inner, name)),
                operand => optional(self.select(node.at, &operand, name)),
            },
            Expr::Call { name, target, args } => self.call(node.at, name, target.as_deref(), args),
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Fold(fold) => self.fold(node.at, fold),
        }
    }

    fn variable(&mut self, at: u32, name: &str) -> Ty<'s> {
        if let Some((_, ty)) = self.variables.iter().rev().find(|(known, _)| known.as_ref() == name) {
            return ty.clone();
        }
        if is_type_name(name) {
            return Ty::Type;
        }
        self.wrong(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn select(&mut self, at: u32, operand: &Ty<'s>, name: &str) -> Ty<'s> {
        match operand {
            Ty::Dyn => Ty::Dyn,
            Ty::Opaque(AUTHORIZER) if name == "requestResource" => Ty::Opaque(RESOURCE_CHECK),
            Ty::Map(_, value) => value.as_ref().clone(),
            Ty::Optional(inner) => optional(self.select(at, inner, name)),
            Ty::Object(schema, is_resource) => {
                match field(schema, *is_resource, name).and_then(|(schema, _)| Ty::of(schema)) {
                    Some(ty) => ty,
                    None => self.wrong(at, format!("undefined field '{name}'")),
                }
            }
            other => self.wrong(at, format!("type '{other}' does not support field selection")),
        }
    }

    fn call(&mut self, at: u32, name: &str, target: Option<&Node>, args: &[Node]) -> Ty<'s> {
        let types: Vec<Ty<'s>> = match (name, args) {
            // What is formatted may be of any types.
            ("format", [Node { expr: Expr::List(items), .. }]) => {
                items.iter().for_each(|item| drop(self.check(&item.value)));
                target.map(|target| self.check(target)).into_iter().chain([Ty::list(Ty::Dyn)]).collect()
            }
            _ => target.into_iter().chain(args).map(|arg| self.check(arg)).collect(),
        };
        self.check_literal(name, args);
        let signatures = signatures::of(name, target.is_some());
        if signatures.is_empty() {
            return self.wrong(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        let mut result: Option<Ty<'s>> = None;
        for signature in signatures {
            let mut bindings = Bindings::default();
            let fits = signature.params.len() == types.len()
                && signature.params.iter().zip(&types).all(|(param, arg)| param.accepts(arg, &mut bindings));
            if fits {
                let found = signature.result.filled(&bindings);
                // Several fit where a type is not known: what comes out is not known either.
                result = Some(result.map_or(found.clone(), |known| if known.is(&found) { known } else { Ty::Dyn }));
            }
        }
        result.unwrap_or_else(|| {
            let names: Vec<String> = types.iter().map(ToString::to_string).collect();
            let applied = match (target, names.split_first()) {
                (Some(_), Some((target, args))) => format!("{target}.({})", args.join(", ")),
                _ => format!("({})", names.join(", ")),
            };
            self.wrong(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
        })
    }

    /// A text that will never be what a function needs is told now; a regular expression is kept as it is compiled.
    fn check_literal(&mut self, name: &str, args: &[Node]) {
        let literal = match name {
            "matches" => args.last(),
            "find" | "findAll" | "duration" | "timestamp" => args.first(),
            _ => None,
        };
        let Some(Node { at, expr: Expr::Text(text), .. }) = literal else { return };
        let is_fine = match name {
            "duration" => crate::schema::duration(text).is_some(),
            "timestamp" => text.parse::<jiff::Timestamp>().is_ok(),
            _ => self.patterns.keep(text).is_ok() || name != "matches",
        };
        if !is_fine {
            self.wrong(*at, format!("invalid {name} argument"));
        }
    }

    fn list(&mut self, items: &[Entry<Node>]) -> Ty<'s> {
        let mut of = Ty::Dyn;
        for item in items {
            let ty = self.element(item.is_optional, &item.value);
            of = self.joined(item.value.at, of, &ty);
        }
        Ty::list(of)
    }

    fn map(&mut self, entries: &[Entry<(Node, Node)>]) -> Ty<'s> {
        let (mut keys, mut values) = (Ty::Dyn, Ty::Dyn);
        for Entry { is_optional, value: (key, value) } in entries {
            let ty = match self.check(key) {
                ty if ty.is_key() => ty,
                other => self.wrong(key.at, keys::unsupported(other)),
            };
            keys = self.joined(key.at, keys, &ty);
            let ty = self.element(*is_optional, value);
            values = self.joined(value.at, values, &ty);
        }
        Ty::map(keys, values)
    }

    fn element(&mut self, is_optional: bool, node: &Node) -> Ty<'s> {
        match self.check(node) {
            Ty::Optional(inner) if is_optional => inner.as_ref().clone(),
            Ty::Dyn => Ty::Dyn,
            other if is_optional => {
                self.wrong(node.at, format!("expected type 'optional_type({other})' but found '{other}'"))
            }
            other => other,
        }
    }

    /// Elements of one literal have one type.
    fn joined(&mut self, at: u32, known: Ty<'s>, found: &Ty<'s>) -> Ty<'s> {
        match known.join(found) {
            Some(joined) => joined,
            None => {
                self.wrong(at, format!("expected type '{known}' but found '{found}'"));
                known
            }
        }
    }

    fn fold(&mut self, at: u32, fold: &Fold) -> Ty<'s> {
        let range = self.check(&fold.range);
        if matches!(fold.kind, FoldKind::OptMap | FoldKind::OptFlatMap) {
            return self.optional_fold(fold, range);
        }
        let (index, element) = match &range {
            Ty::Dyn => (Ty::Dyn, Ty::Dyn),
            Ty::List(of) => (Ty::Int, of.as_ref().clone()),
            Ty::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(fold.range.at, text);
                return Ty::Dyn;
            }
        };
        let depth = self.variables.len();
        match &fold.second {
            Some(second) => {
                self.variables.push((fold.first.clone(), index.clone()));
                self.variables.push((second.clone(), element.clone()));
            }
            // The one variable of a map is its key.
            None if matches!(range, Ty::Map(..)) => self.variables.push((fold.first.clone(), index.clone())),
            None => self.variables.push((fold.first.clone(), element.clone())),
        }
        if let Some(filter) = &fold.filter {
            self.expect_bool(filter, "_?_:_");
        }
        let result = match fold.kind {
            FoldKind::All => self.predicate(&fold.body, "_&&_"),
            FoldKind::Exists => self.predicate(&fold.body, "_||_"),
            FoldKind::ExistsOne => self.predicate(&fold.body, "_?_:_"),
            FoldKind::Filter => {
                self.expect_bool(&fold.body, "_?_:_");
                Ty::list(if matches!(range, Ty::Map(..)) { index } else { element })
            }
            FoldKind::Map | FoldKind::TransformList => Ty::list(self.check(&fold.body)),
            FoldKind::TransformMap => Ty::map(index, self.check(&fold.body)),
            FoldKind::TransformMapEntry => match self.check(&fold.body) {
                map @ (Ty::Map(..) | Ty::Dyn) => map,
                other => self.wrong(at, format!("expected type 'map(dyn, dyn)' but found '{other}'")),
            },
            FoldKind::SortBy => {
                self.check(&fold.body);
                range
            }
            FoldKind::OptMap | FoldKind::OptFlatMap => Ty::Dyn,
        };
        self.variables.truncate(depth);
        result
    }

    fn optional_fold(&mut self, fold: &Fold, range: Ty<'s>) -> Ty<'s> {
        let inner = match range {
            Ty::Optional(inner) => inner.as_ref().clone(),
            Ty::Dyn => Ty::Dyn,
            other => {
                return self.wrong(fold.range.at, format!("expected type 'optional_type(dyn)' but found '{other}'"));
            }
        };
        self.variables.push((fold.first.clone(), inner));
        let body = self.check(&fold.body);
        self.variables.pop();
        match body {
            Ty::Optional(_) | Ty::Dyn if fold.kind == FoldKind::OptFlatMap => body,
            other if fold.kind == FoldKind::OptFlatMap => {
                self.wrong(fold.body.at, format!("expected type 'optional_type({other})' but found '{other}'"))
            }
            other => Ty::optional(other),
        }
    }

    fn predicate(&mut self, body: &Node, operator: &str) -> Ty<'s> {
        self.expect_bool(body, operator);
        Ty::Bool
    }

    fn expect_bool(&mut self, node: &Node, operator: &str) {
        let found = self.check(node);
        if !matches!(found, Ty::Bool | Ty::Dyn) {
            let text = format!("found no matching overload for '{operator}' applied to '(bool, {found})'");
            self.wrong(node.at, text);
        }
    }
}

fn optional(ty: Ty<'_>) -> Ty<'_> {
    match ty {
        optional @ Ty::Optional(_) => optional,
        other => Ty::optional(other),
    }
}

/// `google.protobuf.Timestamp` and the like, which are names with dots.
fn qualified_type<'s>(operand: &Node, name: &str) -> Option<Ty<'s>> {
    qualified_name(operand, name).map(|_| Ty::Type)
}

/// The name of a type that is written with dots.
pub(super) fn qualified_name(operand: &Node, name: &str) -> Option<&'static str> {
    const NAMES: [&str; 8] = [
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "kubernetes.URL",
        "kubernetes.Quantity",
        "kubernetes.Semver",
        "kubernetes.NamedFormat",
        "net.IP",
        "net.CIDR",
    ];
    let prefix = match &operand.expr {
        Expr::Ident(space) if matches!(space.as_ref(), "kubernetes" | "net") => space.to_string(),
        Expr::Select(inner, second) => match &inner.expr {
            Expr::Ident(first) if first.as_ref() == "google" => format!("google.{second}"),
            _ => return None,
        },
        _ => return None,
    };
    NAMES
        .into_iter()
        .find(|known| known.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(name))
}
