//! What calls cost at most, and how large their results can be: the rules of cel-go and of Kubernetes' libraries, by which a kube-apiserver
//! accepts or refuses an expression.

use super::sizes::{Place, Step};
use super::span::Span;
use super::{Known, LIST};
use crate::cel::signatures::Signature;
use crate::cel::types::{FORMAT, Ty, URL};

/// Of a character that is looked at.
const TRAVERSAL: f64 = 0.1;
/// Of a character of a regular expression.
const PATTERN: f64 = 0.25;
const ONE: Span = Span::fixed(1);
/// Two of them spend what an expression may.
const AUTHORIZATION: Span = Span::fixed(350_000);
/// The longest regular expression of a named format.
const FORMAT_PATTERN: f64 = 128.0;
/// The longest name of a format.
const FORMAT_NAME: u64 = 64;
/// A selector is a list of requirements,
const SELECTOR: u64 = LIST;
/// of which one may come with every other character,
const REQUIREMENTS: f64 = 0.5;
/// and each is an object in a list.
const REQUIREMENT: f64 = 50.0;
/// An address is so many bytes.
const ADDRESS: Span = Span { min: 4, max: 16 };

/// What a function is called on.
pub(super) struct Argument<'s> {
    pub(super) known: Known<'s>,
    pub(super) ty: Ty<'s>,
    pub(super) cost: Span,
    /// The number that it is, if it is written as one.
    pub(super) number: Option<i64>,
}

/// What a call costs beside its target, and the size of what it gives if that is known.
pub(super) type Estimated = (Span, Option<Span>);

pub(super) struct Call<'c, 's> {
    pub(super) name: &'c str,
    pub(super) target: Option<&'c Argument<'s>>,
    pub(super) args: &'c [Argument<'s>],
    /// What is looked at is in here.
    pub(super) root: Place<'s>,
}

impl<'s> Call<'_, 's> {
    /// For one of the function's signatures.
    pub(super) fn estimate(&self, signature: &Signature<'s>) -> Estimated {
        let args = self.args.iter().fold(Span::fixed(0), |sum, arg| sum.plus(arg.cost));
        if let Some((cost, size)) = self.of_lists().or_else(|| self.of_kubernetes(signature)) {
            return (cost.plus(args), size);
        }
        self.of_language(signature, args).unwrap_or_else(|| (ONE.plus(args), None))
    }

    /// CEL's own operators and functions; `args` is what they are made of.
    fn of_language(&self, signature: &Signature<'s>, args: Span) -> Option<Estimated> {
        let params = signature.params.as_slice();
        let size = |at: usize| self.args.get(at).map(|arg| arg.known.size_or_unknown());
        let target = || self.target.map(|target| target.known.size_or_unknown());
        Some(match (self.name, params) {
            ("format", _) => (target()?.at(TRAVERSAL).plus(args), None),
            ("bytes", [Ty::Text]) => {
                let text = size(0)?;
                (text.at(TRAVERSAL).plus(args), Some(Span { max: text.max.wrapping_mul(4), ..text }))
            }
            ("string", [Ty::Bytes]) => {
                let bytes = size(0)?;
                (bytes.at(TRAVERSAL).plus(args), Some(Span { min: bytes.min / 4, ..bytes }))
            }
            ("strings.quote", _) => {
                let text = size(0)?;
                let quoted = Span { min: text.min.wrapping_add(2), max: text.max.wrapping_mul(2).wrapping_add(2) };
                (text.at(TRAVERSAL).plus(args), Some(quoted))
            }
            ("startsWith" | "endsWith", _) => (size(0)?.at(TRAVERSAL).plus(args), None),
            ("@in", [_, Ty::List(_)]) => (size(1)?.plus(args), None),
            ("matches", _) => {
                let (text, pattern) = if self.target.is_some() { (target()?, size(0)?) } else { (size(0)?, size(1)?) };
                (searched(text, pattern).plus(args), None)
            }
            ("contains", _) => (target()?.at(TRAVERSAL).times(size(0)?.at(TRAVERSAL)).plus(args), None),
            ("_||_" | "_&&_", _) => {
                let [left, right] = self.args else { return None };
                // The right one need not be looked at.
                (Span { min: left.cost.min, max: left.cost.plus(right.cost).max }, None)
            }
            ("_?_:_", _) => {
                let [condition, yes, no] = self.args else { return None };
                (condition.cost.plus(yes.cost.union(no.cost)), Some(size(1)?.union(size(2)?)))
            }
            ("_+_", [Ty::Text | Ty::Bytes, _]) => {
                let both = size(0)?.plus(size(1)?);
                (both.at(TRAVERSAL).plus(args), Some(both))
            }
            ("_+_", [Ty::List(_), _]) => (ONE.plus(args), Some(size(0)?.plus(size(1)?))),
            ("_<_" | "_<=_" | "_>_" | "_>=_", [Ty::Text | Ty::Bytes, _]) | ("_==_" | "_!=_", _) => {
                let shorter = size(0)?.max.min(size(1)?.max);
                (Span { min: shorter.min(1), max: shorter }.at(TRAVERSAL).plus(args), None)
            }
            _ => return None,
        })
    }

    /// The libraries of lists and sets.
    pub(super) fn of_lists(&self) -> Option<Estimated> {
        let target = || self.target.map(|target| target.known.size_or_unknown());
        let number = |at: usize, otherwise: u64| match self.args.get(at).and_then(|arg| arg.number) {
            Some(number) => u64::try_from(number).unwrap_or_default(),
            None => otherwise,
        };
        let made = |factor: f64, size: Span| (size.at(factor).plus(ONE).plus(Span::fixed(LIST)), Some(size));
        Some(match self.name {
            "slice" => made(1.0, Span::fixed(number(1, target()?.max).wrapping_sub(number(0, 0)))),
            "flatten" => {
                #[expect(clippy::cast_precision_loss, reason = "a depth; what is larger costs too much anyway")]
                let depth = if self.args.is_empty() { 1.0 } else { number(0, u64::MAX) as f64 };
                made(depth, target()?)
            }
            "lists.range" => made(1.0, Span::fixed(number(0, u64::MAX))),
            "reverse" => made(1.0, target()?),
            "distinct" => made(2.0, target()?.times(target()?)),
            "sort" => made(self.sorting(&self.target?.ty), target()?.times(target()?)),
            "@sortByAssociatedKeys" => {
                let keys = self.args.first()?;
                let size = keys.known.size_or_unknown();
                made(self.sorting(&keys.ty), size.times(size))
            }
            "sets.contains" | "sets.intersects" => (self.pairs()?.plus(ONE), None),
            "sets.equivalent" => (self.pairs()?.at(2.0).plus(ONE), None),
            _ => return None,
        })
    }

    fn sorting(&self, list: &Ty<'s>) -> f64 {
        let is_text = matches!(list, Ty::List(of) if matches!(of.as_ref(), Ty::Text | Ty::Bytes));
        if is_text { 2.0 + TRAVERSAL } else { 2.0 }
    }

    fn pairs(&self) -> Option<Span> {
        let [left, right] = self.args else { return None };
        Some(left.known.size_or_unknown().times(right.known.size_or_unknown()))
    }

    /// Kubernetes' own libraries.
    fn of_kubernetes(&self, signature: &Signature<'s>) -> Option<Estimated> {
        let arg = |at: usize| self.args.get(at).map(|arg| arg.known.size_or_unknown());
        let target = || self.target.map(|target| target.known.size_or_unknown());
        let takes_text = matches!(signature.params.get(1), Some(Ty::Text));
        Some(match self.name {
            "check" => (AUTHORIZATION, None),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
            | "reason" | "error" | "errored" => (ONE, None),
            "fieldSelector" | "labelSelector" => (selector(arg(0)?), None),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => (self.walked()?, None),
            "url" => (arg(0)?.at(TRAVERSAL), arg(0)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (target()?.at(TRAVERSAL), target()),
            "replace" => (target()?.at(2.0 * TRAVERSAL), Some(replaced(target()?, arg(0)?, arg(1)?))),
            "split" => {
                let parts = self.args.get(1).and_then(|arg| arg.number);
                #[expect(clippy::cast_sign_loss, reason = "a negative number means all parts, and is that large")]
                let parts = parts.map_or(target()?.max, |parts| parts as u64);
                (target()?.at(2.0 * TRAVERSAL), Some(Span::up_to(parts)))
            }
            "join" => {
                let list = target()?;
                let texts = self.item_of_target().map_or(Span::fixed(0), |(_, item)| list.times(item));
                let separators = Span { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                let joined = arg(0).map_or(texts, |separator| texts.plus(separator.times(separators)));
                (joined.at(TRAVERSAL), Some(joined))
            }
            "find" | "findAll" => (searched(target()?, arg(0)?), Some(Span::up_to(target()?.max))),
            "ip" if self.target.is_some() => (ONE, None),
            "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                (arg(0)?.at(TRAVERSAL), None)
            }
            "ip.isCanonical" => (arg(0)?.at(2.0 * TRAVERSAL), None),
            "containsIP" | "containsCIDR" => {
                let mut cost = ADDRESS.plus(ADDRESS).at(TRAVERSAL);
                if self.name == "containsCIDR" {
                    cost = cost.plus(ADDRESS.at(TRAVERSAL)).plus(ONE);
                }
                (if takes_text { cost.plus(arg(0)?.at(TRAVERSAL)) } else { cost }, None)
            }
            "validate" => (arg(0)?.at(TRAVERSAL).at(FORMAT_PATTERN * PATTERN), None),
            "_==_" => {
                let [Argument { ty: Ty::Opaque(left), .. }, Argument { ty: Ty::Opaque(right), known, .. }] = self.args
                else {
                    return None;
                };
                match *left {
                    _ if left != right => return None,
                    FORMAT => (Span { min: 1, max: FORMAT_NAME }.at(TRAVERSAL), None),
                    URL => (Span { min: 1, max: known.size.map_or(1, |size| size.max) }.at(TRAVERSAL), None),
                    _ => (ONE, None),
                }
            }
            _ => return None,
        })
    }

    /// The type and the size of the elements of a list that a method is called on.
    fn item_of_target(&self) -> Option<(&Ty<'s>, Span)> {
        let target = self.target?;
        let (Ty::List(of) | Ty::Map(of, _) | Ty::Optional(of)) = &target.ty else { return None };
        let size = match target.known.place {
            Place::Computed => None,
            place => place.below(Step::Element, self.root).size(),
        };
        Some((of, size.unwrap_or(Span::UNKNOWN)))
    }

    /// Every element is looked at once, and every character of one that is a text.
    fn walked(&self) -> Option<Span> {
        let size = self.target?.known.size_or_unknown();
        Some(match self.item_of_target() {
            Some((Ty::Text | Ty::Bytes, item)) => size.times(ONE.plus(item.at(TRAVERSAL))),
            None if self.name != "includes" => size.at(TRAVERSAL),
            _ => size,
        })
    }
}

/// A regular expression that is looked for in a text, which may be empty.
fn searched(text: Span, pattern: Span) -> Span {
    text.plus(ONE).at(TRAVERSAL).times(pattern.at(PATTERN))
}

/// A selector that is parsed.
fn selector(length: Span) -> Span {
    Span::fixed(SELECTOR).plus(length.at(TRAVERSAL)).plus(length.at(REQUIREMENTS).at(REQUIREMENT))
}

/// The size of a text in which one is put in another's place, wherever that stands.
fn replaced(text: Span, old: Span, new: Span) -> Span {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "as cel-go's"
    )]
    let times = |text: u64, old: u64| (text as f64 / old as f64).ceil() as u64;
    // An empty text stands around every character.
    let (most, kept_at_most) = match old.min {
        0 => (text.max.saturating_add(1), text.max),
        _ if new.max <= old.min => (0, text.max),
        _ => (times(text.max, old.min), 0),
    };
    let (fewest, kept_at_least) = match old.max {
        0 => (text.min.saturating_add(1), text.min),
        _ if old.max <= new.min => (0, text.min),
        _ => (times(text.min, old.max), 0),
    };
    Span { min: fewest, max: most }.times(new).plus(Span { min: kept_at_least, max: kept_at_most })
}
