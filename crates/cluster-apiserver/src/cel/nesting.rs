//! How deep lists, maps and optional values of an expression can nest, on top of what its variables hold. All that is done with values and their
//! types walks down, so there is a limit; the depth of the expression is none, because a macro's variable brings along what its range has.

use super::ast::{Expr, Fold, FoldKind, Node};

/// Expressions whose values nest deeper are refused.
pub(super) const MAX_NESTING: usize = 200;

/// The most that a value of an expression nests.
pub(super) fn nesting(node: &Node) -> usize {
    Walk { variables: Vec::new(), most: 0 }.of_whole(node)
}

struct Walk<'n> {
    /// The variables of macros, and how deep each nests.
    variables: Vec<(&'n str, usize)>,
    most: usize,
}

impl<'n> Walk<'n> {
    fn of_whole(mut self, node: &'n Node) -> usize {
        self.node(node);
        self.most
    }

    fn node(&mut self, node: &'n Node) -> usize {
        let depth = match &node.expr {
            Expr::Ident(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| *known == name.as_ref());
                known.map_or(0, |(_, depth)| *depth)
            }
            Expr::Fold(fold) => self.fold(fold),
            expr => {
                let below = node.children().into_iter().map(|child| self.node(child)).max().unwrap_or_default();
                let wraps = match expr {
                    Expr::List(_) | Expr::Map(_) | Expr::OptionalSelect(..) => true,
                    Expr::Call { name, .. } => name.starts_with("optional.") || name.as_ref() == "_[?_]",
                    _ => false,
                };
                below + usize::from(wraps)
            }
        };
        self.most = self.most.max(depth);
        depth
    }

    fn fold(&mut self, fold: &'n Fold) -> usize {
        let range = self.node(&fold.range);
        let element = range.saturating_sub(1);
        let names = [Some(fold.first.as_ref()), fold.second.as_deref()];
        let depth = self.variables.len();
        self.variables.extend(names.into_iter().flatten().map(|name| (name, element)));
        if let Some(filter) = &fold.filter {
            self.node(filter);
        }
        let body = self.node(&fold.body);
        self.variables.truncate(depth);
        match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => 0,
            FoldKind::Filter | FoldKind::SortBy => range.max(1),
            _ => body + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn of(source: &str) -> usize {
        nesting(&parse(source).unwrap_or_else(|problem| panic!("{source}: {problem:?}")))
    }

    #[test]
    fn what_nests() {
        for (source, wanted) in [
            ("self.a == 1", 0),
            ("[[1]]", 2),
            ("{'a': [1]}", 2),
            ("[[[1]]].all(x, [x] == [])", 3),
            ("[1].map(x, x).map(x, x).map(x, x)", 1),
            ("[[1]].map(x, [x])", 3),
            ("optional.of([1])", 2),
            ("self.filter(x, x > 1)", 1),
        ] {
            assert_eq!(of(source), wanted, "{source}");
        }
    }
}
