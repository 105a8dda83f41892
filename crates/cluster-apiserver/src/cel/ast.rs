//! The syntax tree of an expression. Macros (`all`, `map`, …) are nodes of their own.

/// A part of an expression, and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Of its operator or first character, counted in characters.
    pub(super) at: u32,
    /// How many nodes lie below it at most.
    pub(super) depth: u16,
    pub(super) expr: Expr,
}

#[derive(Debug)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Ident(Box<str>),
    /// `a.b`
    Select(Box<Node>, Box<str>),
    /// `has(a.b)`
    Has(Box<Node>, Box<str>),
    /// `a.?b`
    OptionalSelect(Box<Node>, Box<str>),
    /// `f(x)`, `a.f(x)`, and every operator by its name, such as `_+_`.
    Call {
        name: Box<str>,
        target: Option<Box<Node>>,
        args: Vec<Node>,
    },
    List(Vec<Entry<Node>>),
    Map(Vec<Entry<(Node, Node)>>),
    Fold(Box<Fold>),
}

/// An element of a literal; an optional one (`?x`) is there if it has a value.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) is_optional: bool,
    pub(super) value: T,
}

/// A macro: an expression for each element of a range.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) range: Node,
    /// The element; the index or key if there is a second.
    pub(super) first: Box<str>,
    pub(super) second: Option<Box<str>>,
    pub(super) filter: Option<Node>,
    /// The key of the element that `transformMapEntry` makes is part of it: a map.
    pub(super) body: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
    SortBy,
    OptMap,
    OptFlatMap,
}

impl Node {
    /// What stands right below.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.expr {
            Expr::Select(operand, _) | Expr::Has(operand, _) | Expr::OptionalSelect(operand, _) => vec![operand],
            Expr::Call { target, args, .. } => target.as_deref().into_iter().chain(args).collect(),
            Expr::List(items) => items.iter().map(|item| &item.value).collect(),
            Expr::Map(entries) => entries.iter().flat_map(|entry| [&entry.value.0, &entry.value.1]).collect(),
            Expr::Fold(fold) => [&fold.range, &fold.body].into_iter().chain(fold.filter.as_ref()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a variable is read; a macro's own variable of that name hides it.
    pub(super) fn reads(&self, variable: &str) -> bool {
        match &self.expr {
            Expr::Ident(name) => name.as_ref() == variable,
            Expr::Fold(fold) if fold.first.as_ref() == variable || fold.second.as_deref() == Some(variable) => {
                fold.range.reads(variable)
            }
            _ => self.children().into_iter().any(|child| child.reads(variable)),
        }
    }
}
