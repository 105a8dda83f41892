//! The options of lists and watches, read and checked.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Ask;
use crate::field_error::{FieldError, quote};
use crate::http::query::Query;
use crate::registry::Resource;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::{Result, StatusError, top};
use crate::store::{ObjectKey, Revision, Stored};

/// Which objects are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) prefix: String,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Selection {
    pub(super) fn of(ask: &Ask) -> Result<Self> {
        let bad = |error: crate::selector::SelectorError| StatusError::bad_request(error.0);
        let labels = LabelSelector::parse(ask.query.text("labelSelector")).map_err(bad)?;
        let refuse = |field: &str| ask.resource.refuse_selected(field);
        let mut fields = FieldSelector::parse(ask.query.text("fieldSelector"), refuse).map_err(bad)?;
        // An old watch path that names an object: who asks may have been let in for that name alone.
        if !ask.name.is_empty() {
            let why = "fieldSelector metadata.name doesn't match requested name";
            fields = fields.named(&ask.name).ok_or_else(|| StatusError::bad_request(why))?;
        }
        Ok(Self { prefix: ask.prefix(), labels, fields })
    }

    /// Whether nothing but the place selects.
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is where those stand that are asked for.
    pub(super) fn is_in_place(&self, key: &ObjectKey) -> bool {
        key.as_str().starts_with(&self.prefix) && self.fields.matches_key(key)
    }

    /// Whether an object is asked for.
    pub(super) fn matches(&self, resource: &Resource, object: &Stored) -> bool {
        self.is_in_place(&object.key)
            && self.labels.matches(&object.labels)
            && (!self.fields.needs_body() || self.matches_body(resource, object))
    }

    fn matches_body(&self, resource: &Resource, object: &Stored) -> bool {
        resource.load(object).is_ok_and(|value| self.fields.matches_fields(|field| resource.field_value(field, &value)))
    }
}

/// The state that a list should show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The newest.
    Latest,
    /// Any; the newest will do, and all of it.
    Any,
    /// Not older than a revision.
    NotOlderThan(Revision),
    /// Exactly at a revision.
    Exactly(Revision),
    /// The rest of a list at a revision, from a key on.
    Continued(Revision, String),
}

/// `resourceVersion` as a number; `None` if it is absent or empty.
pub(super) fn resource_version(query: &Query) -> std::result::Result<Option<Revision>, String> {
    match query.text("resourceVersion") {
        "" => Ok(None),
        text => match text.parse() {
            Ok(number) => Ok(Some(Revision(number))),
            Err(_) => Err(format!(
                "resourceVersion: Invalid value: {0}: strconv.ParseUint: parsing {0}: invalid syntax",
                quote(text)
            )),
        },
    }
}

fn invalid(error: FieldError) -> StatusError {
    StatusError::invalid_option("ListOptions", &error)
}

/// # Errors
/// 422 for options that do not go together.
fn check_list(query: &Query, matching: &str) -> Result<()> {
    let field = top("resourceVersionMatch");
    let revision = query.text("resourceVersion");
    let mut errors = Vec::new();
    if !matching.is_empty() {
        let mut forbid = |holds: bool, why: &str| {
            if holds {
                errors.push(FieldError::forbidden(&field, why));
            }
        };
        forbid(revision.is_empty(), "resourceVersionMatch is forbidden unless resourceVersion is provided");
        forbid(!query.text("continue").is_empty(), "resourceVersionMatch is forbidden when continue is provided");
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(&field, matching, &["Exact", "NotOlderThan", ""]));
        } else if matching == "Exact" && revision == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&field, why));
        }
    }
    if query.optional_flag("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden(&top("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
    }
    if errors.is_empty() { Ok(()) } else { Err(StatusError::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

/// Reads and checks what a list wants.
pub(super) fn list_when(query: &Query) -> Result<When> {
    query.number("timeoutSeconds")?;
    let continued = query.text("continue");
    let matching = query.text("resourceVersionMatch");
    check_list(query, matching)?;
    let revision =
        resource_version(query).map_err(|why| StatusError::bad_request(format!("invalid resource version: {why}")))?;
    if !continued.is_empty() {
        if revision.is_some_and(|revision| revision.0 > 0) {
            return Err(StatusError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Token::decode(continued).map(|token| When::Continued(token.revision, token.start));
    }
    match (revision, matching) {
        (None, _) => Ok(When::Latest),
        (Some(Revision(0)), _) => Ok(When::Any),
        (Some(revision), "Exact") => Ok(When::Exactly(revision)),
        // The first page of many, whose others will be of its revision.
        (Some(revision), "") if query.number("limit")?.is_some_and(|limit| limit > 0) => Ok(When::Exactly(revision)),
        (Some(revision), _) => Ok(When::NotOlderThan(revision)),
    }
}

/// The beginning of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The present objects first, as if they had just been added.
    Present,
    /// What happens from now on.
    Now,
    /// What happens after a revision.
    After(Revision),
}

/// What a watch wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchOptions {
    pub(super) from: From,
    /// Whether a bookmark marks the end of the present objects.
    pub(super) marks_initial_end: bool,
    pub(super) wants_bookmarks: bool,
    pub(super) timeout_s: Option<u64>,
}

/// Reads and checks what a watch wants.
pub(super) fn watch_options(query: &Query) -> Result<WatchOptions> {
    let sends_initial = query.optional_flag("sendInitialEvents");
    let matching = query.text("resourceVersionMatch");
    let field = top("resourceVersionMatch");
    if sends_initial.is_some() && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid(FieldError::forbidden(&field, why)));
    }
    if sends_initial.is_none() && !matching.is_empty() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(invalid(FieldError::forbidden(&field, why)));
    }
    let revision =
        resource_version(query).map_err(|why| StatusError::new(500, "", why))?.filter(|revision| revision.0 > 0);
    let from = match (sends_initial, revision) {
        (Some(true), _) => From::Present,
        (_, Some(revision)) => From::After(revision),
        // Asked not to send what is there, a watch without a revision begins now.
        (Some(false), None) => From::Now,
        (None, None) => From::Present,
    };
    let wants_bookmarks = query.flag("allowWatchBookmarks");
    let timeout_s = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    Ok(WatchOptions {
        from,
        marks_initial_end: sends_initial == Some(true) && wants_bookmarks,
        wants_bookmarks,
        timeout_s,
    })
}

/// As Go decodes base64: what does not fill a byte is ignored.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) revision: Revision,
    /// The first key that may follow, within the prefix.
    pub(super) start: String,
}

impl Token {
    /// The token after an object.
    pub(super) fn after(revision: Revision, prefix: &str, key: &ObjectKey) -> Self {
        let start = key.as_str().strip_prefix(prefix).unwrap_or(key.as_str());
        Self { revision, start: format!("{start}\0") }
    }

    pub(super) fn encode(&self) -> String {
        let token = json!({"v": "meta.k8s.io/v1", "rv": self.revision.0, "start": format!("/{}", self.start)});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    pub(super) fn decode(text: &str) -> Result<Self> {
        let bad =
            |why: String| StatusError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes =
            LENIENT.decode(text.trim_end_matches('=')).map_err(|error| bad(format!("illegal base64 data: {error}")))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|_| bad(crate::negotiate::json_syntax_error(&bytes)))?;
        let revision = token.get("rv").and_then(Value::as_u64);
        let start = token.get("start").and_then(Value::as_str).and_then(|start| start.strip_prefix('/'));
        match (revision, start) {
            (Some(revision), Some(start)) => Ok(Self { revision: Revision(revision), start: start.to_owned() }),
            _ => Err(bad("it is not a token of this server".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(query: &str) -> Result<When> {
        list_when(&Query::parse(query))
    }

    #[test]
    fn resource_versions_mean_what_they_mean_in_kubernetes() {
        assert_eq!(when("").expect("latest"), When::Latest);
        assert_eq!(when("resourceVersion=0").expect("any"), When::Any);
        assert_eq!(when("resourceVersion=7").expect("newer"), When::NotOlderThan(Revision(7)));
        assert_eq!(when("resourceVersion=7&limit=2").expect("a page"), When::Exactly(Revision(7)));
        let newer = when("resourceVersion=7&limit=2&resourceVersionMatch=NotOlderThan");
        assert_eq!(newer.expect("a newer page"), When::NotOlderThan(Revision(7)));
        assert_eq!(when("resourceVersion=7&resourceVersionMatch=Exact").expect("exact"), When::Exactly(Revision(7)));
        assert_eq!(
            when("resourceVersion=abc").expect_err("not a number").message,
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"
        );
        assert_eq!(when("resourceVersionMatch=Exact").expect_err("alone").code, 422);
        assert_eq!(when("sendInitialEvents=true").expect_err("list").code, 422);
        assert_eq!(
            when("continue=zzz&resourceVersion=1").expect_err("both").message,
            "specifying resource version is not allowed when using continue"
        );
        assert_eq!(
            when("continue=zzz").expect_err("garbage").message,
            "invalid continue token: continue key is not valid: invalid character '\u{cf}' looking for beginning of value"
        );
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = Token::after(Revision(282), "default/", &ObjectKey::new("default", "l1"));
        assert_eq!(token.encode(), "eyJydiI6MjgyLCJzdGFydCI6Ii9sMVx1MDAwMCIsInYiOiJtZXRhLms4cy5pby92MSJ9");
        assert_eq!(Token::decode(&token.encode()).expect("token"), token);
    }

    #[test]
    fn watches_begin_where_they_are_told() {
        let options = |query: &str| watch_options(&Query::parse(query));
        assert_eq!(options("").expect("plain").from, From::Present);
        assert_eq!(options("resourceVersion=0").expect("any").from, From::Present);
        assert_eq!(options("resourceVersion=5&timeoutSeconds=3").expect("resumed").from, From::After(Revision(5)));
        let initial =
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0";
        assert!(options(initial).expect("initial").marks_initial_end);
        assert_eq!(options("sendInitialEvents=true").expect_err("no match").code, 422);
        assert_eq!(options("resourceVersion=abc").expect_err("not a number").code, 500);
    }
}
