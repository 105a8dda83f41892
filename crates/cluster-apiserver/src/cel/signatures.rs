//! What functions there are, and on which types.

use super::types::{
    AUTHORIZER, CIDR, DECISION, FORMAT, GROUP_CHECK, IP, PATH_CHECK, QUANTITY, RESOURCE_CHECK, SEMVER, Ty, URL,
};

/// Name, and its signatures. A name that begins with a dot is called on its first argument.
const TABLE: &[(&str, &str)] = &[
    // Operators.
    ("_||_", "bool, bool -> bool"),
    ("_&&_", "bool, bool -> bool"),
    ("!_", "bool -> bool"),
    ("-_", "int -> int; double -> double"),
    ("_?_:_", "bool, A, A -> A"),
    ("_==_", "A, A -> bool"),
    ("_!=_", "A, A -> bool"),
    ("_<_", ORDER),
    ("_<=_", ORDER),
    ("_>_", ORDER),
    ("_>=_", ORDER),
    ("@in", "A, list(A) -> bool; A, map(A, B) -> bool"),
    (
        "_+_",
        "int, int -> int; uint, uint -> uint; double, double -> double; string, string -> string; bytes, bytes -> bytes; \
         list(A), list(A) -> list(A); duration, duration -> duration; timestamp, duration -> timestamp; \
         duration, timestamp -> timestamp",
    ),
    (
        "_-_",
        "int, int -> int; uint, uint -> uint; double, double -> double; duration, duration -> duration; \
         timestamp, timestamp -> duration; timestamp, duration -> timestamp",
    ),
    ("_*_", "int, int -> int; uint, uint -> uint; double, double -> double"),
    ("_/_", "int, int -> int; uint, uint -> uint; double, double -> double"),
    ("_%_", "int, int -> int; uint, uint -> uint"),
    (
        "_[_]",
        "list(A), int -> A; map(A, B), A -> B; optional(list(A)), int -> optional(A); optional(map(A, B)), A -> optional(B)",
    ),
    (
        "_[?_]",
        "list(A), int -> optional(A); map(A, B), A -> optional(B); optional(list(A)), int -> optional(A); \
         optional(map(A, B)), A -> optional(B)",
    ),
    // Conversions.
    ("bool", "bool -> bool; string -> bool"),
    ("bytes", "bytes -> bytes; string -> bytes"),
    ("double", "double -> double; int -> double; uint -> double; string -> double"),
    ("dyn", "A -> dyn"),
    ("duration", "duration -> duration; string -> duration; int -> duration"),
    ("int", "int -> int; uint -> int; double -> int; string -> int; timestamp -> int; duration -> int"),
    (
        "string",
        "string -> string; bool -> string; int -> string; uint -> string; double -> string; bytes -> string; \
         timestamp -> string; duration -> string; IP -> string; CIDR -> string",
    ),
    ("timestamp", "timestamp -> timestamp; string -> timestamp; int -> timestamp"),
    ("type", "A -> type"),
    ("uint", "uint -> uint; int -> uint; double -> uint; string -> uint"),
    // Sizes and texts.
    ("size", SIZE),
    (".size", SIZE),
    (".contains", "string, string -> bool"),
    (".startsWith", "string, string -> bool"),
    (".endsWith", "string, string -> bool"),
    (".matches", "string, string -> bool"),
    ("matches", "string, string -> bool"),
    (".charAt", "string, int -> string"),
    (".indexOf", "string, string -> int; string, string, int -> int; list(A), A -> int"),
    (".lastIndexOf", "string, string -> int; string, string, int -> int; list(A), A -> int"),
    (".lowerAscii", "string -> string"),
    (".upperAscii", "string -> string"),
    (".trim", "string -> string"),
    (".replace", "string, string, string -> string; string, string, string, int -> string"),
    (".split", "string, string -> list(string); string, string, int -> list(string)"),
    (".substring", "string, int -> string; string, int, int -> string"),
    (".join", "list(string) -> string; list(string), string -> string"),
    (".format", "string, list(dyn) -> string"),
    ("strings.quote", "string -> string"),
    (".find", "string, string -> string"),
    (".findAll", "string, string -> list(string); string, string, int -> list(string)"),
    // Lists and sets.
    (".isSorted", "list(A) -> bool"),
    (".sum", "list(int) -> int; list(uint) -> uint; list(double) -> double; list(duration) -> duration"),
    (".min", "list(A) -> A"),
    (".max", "list(A) -> A"),
    (".includes", "dyn, dyn -> bool"),
    (".distinct", "list(A) -> list(A)"),
    (".flatten", "list(list(A)) -> list(A); list(dyn) -> list(dyn); list(dyn), int -> list(dyn)"),
    (".reverse", "list(A) -> list(A)"),
    (".slice", "list(A), int, int -> list(A)"),
    (".sort", "list(A) -> list(A)"),
    (".first", "list(A) -> optional(A)"),
    (".last", "list(A) -> optional(A)"),
    ("lists.range", "int -> list(int)"),
    ("sets.contains", "list(A), list(A) -> bool"),
    ("sets.equivalent", "list(A), list(A) -> bool"),
    ("sets.intersects", "list(A), list(A) -> bool"),
    // Values that may be missing.
    ("optional.of", "A -> optional(A)"),
    ("optional.ofNonZeroValue", "A -> optional(A)"),
    ("optional.none", " -> optional(A)"),
    (".hasValue", "optional(A) -> bool"),
    (".value", "optional(A) -> A"),
    (".or", "optional(A), optional(A) -> optional(A)"),
    (".orValue", "optional(A), A -> A"),
    // Times.
    (".getFullYear", DATE),
    (".getMonth", DATE),
    (".getDate", DATE),
    (".getDayOfMonth", DATE),
    (".getDayOfWeek", DATE),
    (".getDayOfYear", DATE),
    (".getHours", TIME),
    (".getMinutes", TIME),
    (".getSeconds", TIME),
    (".getMilliseconds", TIME),
    // Kubernetes' own.
    ("quantity", "string -> Quantity"),
    ("isQuantity", "string -> bool"),
    (".sign", "Quantity -> int"),
    (".isInteger", "Quantity -> bool"),
    (".asInteger", "Quantity -> int"),
    (".asApproximateFloat", "Quantity -> double"),
    (".add", "Quantity, Quantity -> Quantity; Quantity, int -> Quantity"),
    (".sub", "Quantity, Quantity -> Quantity; Quantity, int -> Quantity"),
    (".isLessThan", "Quantity, Quantity -> bool; Semver, Semver -> bool"),
    (".isGreaterThan", "Quantity, Quantity -> bool; Semver, Semver -> bool"),
    (".compareTo", "Quantity, Quantity -> int; Semver, Semver -> int"),
    ("semver", "string -> Semver; string, bool -> Semver"),
    ("isSemver", "string -> bool; string, bool -> bool"),
    (".major", "Semver -> int"),
    (".minor", "Semver -> int"),
    (".patch", "Semver -> int"),
    ("url", "string -> URL"),
    ("isURL", "string -> bool"),
    (".getScheme", "URL -> string"),
    (".getHost", "URL -> string"),
    (".getHostname", "URL -> string"),
    (".getPort", "URL -> string"),
    (".getEscapedPath", "URL -> string"),
    (".getQuery", "URL -> map(string, list(string))"),
    ("ip", "string -> IP"),
    ("isIP", "string -> bool"),
    ("ip.isCanonical", "string -> bool"),
    (".family", "IP -> int"),
    (".isUnspecified", "IP -> bool"),
    (".isLoopback", "IP -> bool"),
    (".isLinkLocalMulticast", "IP -> bool"),
    (".isLinkLocalUnicast", "IP -> bool"),
    (".isGlobalUnicast", "IP -> bool"),
    ("cidr", "string -> CIDR"),
    ("isCIDR", "string -> bool"),
    (".containsIP", "CIDR, string -> bool; CIDR, IP -> bool"),
    (".containsCIDR", "CIDR, string -> bool; CIDR, CIDR -> bool"),
    (".ip", "CIDR -> IP"),
    (".masked", "CIDR -> CIDR"),
    (".prefixLength", "CIDR -> int"),
    ("format.named", "string -> optional(Format)"),
    ("format.dns1123Label", " -> Format"),
    ("format.dns1123Subdomain", " -> Format"),
    ("format.dns1035Label", " -> Format"),
    ("format.dns1123LabelPrefix", " -> Format"),
    ("format.dns1123SubdomainPrefix", " -> Format"),
    ("format.dns1035LabelPrefix", " -> Format"),
    ("format.qualifiedName", " -> Format"),
    ("format.labelValue", " -> Format"),
    ("format.uri", " -> Format"),
    ("format.uuid", " -> Format"),
    ("format.byte", " -> Format"),
    ("format.date", " -> Format"),
    ("format.datetime", " -> Format"),
    (".validate", "Format, string -> optional(list(string))"),
    // What somebody may do.
    (".path", "Authorizer, string -> PathCheck"),
    (".group", "Authorizer, string -> GroupCheck"),
    (".serviceAccount", "Authorizer, string, string -> Authorizer"),
    (".resource", "GroupCheck, string -> ResourceCheck"),
    (".subresource", NARROWED),
    (".namespace", NARROWED),
    (".name", NARROWED),
    (".fieldSelector", NARROWED),
    (".labelSelector", NARROWED),
    (".check", "PathCheck, string -> Decision; ResourceCheck, string -> Decision"),
    (".allowed", "Decision -> bool"),
    (".errored", "Decision -> bool"),
    (".error", "Decision -> string"),
    (".reason", "Decision -> string"),
];

const ORDER: &str = "bool, bool -> bool; int, int -> bool; int, double -> bool; int, uint -> bool; uint, uint -> bool; uint, int -> bool; \
    uint, double -> bool; double, double -> bool; double, int -> bool; double, uint -> bool; string, string -> bool; \
    bytes, bytes -> bool; duration, duration -> bool; timestamp, timestamp -> bool";
const NARROWED: &str = "ResourceCheck, string -> ResourceCheck";
const SIZE: &str = "string -> int; bytes -> int; list(A) -> int; map(A, B) -> int";
const DATE: &str = "timestamp -> int; timestamp, string -> int";
const TIME: &str = "timestamp -> int; timestamp, string -> int; duration -> int";

/// What a function takes and gives.
pub(super) struct Signature<'s> {
    pub(super) params: Vec<Ty<'s>>,
    pub(super) result: Ty<'s>,
}

/// The signatures of a function, or of a method; empty if there is none of that name.
pub(super) fn of<'s>(name: &str, is_method: bool) -> Vec<Signature<'s>> {
    let is_it = |row: &str| match row.strip_prefix('.') {
        Some(method) => is_method && method == name,
        None => !is_method && row == name,
    };
    let row = TABLE.iter().find(|(row, _)| is_it(row));
    row.map(|(_, texts)| texts.split(';').filter_map(signature).collect()).unwrap_or_default()
}

fn signature<'s>(text: &str) -> Option<Signature<'s>> {
    let (params, result) = text.split_once("->")?;
    Some(Signature { params: types(params)?, result: one_type(result.trim())? })
}

fn types<'s>(text: &str) -> Option<Vec<Ty<'s>>> {
    let (mut depth, mut start, mut types) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                types.push(one_type(text.get(start..at)?.trim())?);
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text.get(start..)?.trim();
    if !last.is_empty() {
        types.push(one_type(last)?);
    }
    Some(types)
}

fn one_type<'s>(text: &str) -> Option<Ty<'s>> {
    if let Some((outer, inner)) = text.split_once('(') {
        let mut inner = types(inner.strip_suffix(')')?)?.into_iter();
        let first = inner.next()?;
        return Some(match outer {
            "list" => Ty::list(first),
            "optional" => Ty::optional(first),
            "map" => Ty::map(first, inner.next()?),
            _ => return None,
        });
    }
    Some(match text {
        "A" => Ty::Param(0),
        "B" => Ty::Param(1),
        "dyn" => Ty::Dyn,
        "bool" => Ty::Bool,
        "int" => Ty::Int,
        "uint" => Ty::Uint,
        "double" => Ty::Double,
        "string" => Ty::Text,
        "bytes" => Ty::Bytes,
        "duration" => Ty::Duration,
        "timestamp" => Ty::Timestamp,
        "type" => Ty::Type,
        "URL" => Ty::Opaque(URL),
        "Quantity" => Ty::Opaque(QUANTITY),
        "Semver" => Ty::Opaque(SEMVER),
        "Format" => Ty::Opaque(FORMAT),
        "IP" => Ty::Opaque(IP),
        "CIDR" => Ty::Opaque(CIDR),
        "Authorizer" => Ty::Opaque(AUTHORIZER),
        "PathCheck" => Ty::Opaque(PATH_CHECK),
        "GroupCheck" => Ty::Opaque(GROUP_CHECK),
        "ResourceCheck" => Ty::Opaque(RESOURCE_CHECK),
        "Decision" => Ty::Opaque(DECISION),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_read() {
        for (name, texts) in TABLE {
            let is_method = name.starts_with('.');
            assert_eq!(of(name.trim_start_matches('.'), is_method).len(), texts.split(';').count(), "{name}");
        }
        assert!(of("contains", false).is_empty() && of("nothing", true).is_empty());
    }
}
