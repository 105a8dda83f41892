//! The verbs: one function each, for every resource alike.

pub(crate) mod apply;
mod conceal;
mod get;
mod list;
mod options;
pub(crate) mod patch;
mod show;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::core::Core;
use crate::crd::conversion;
use crate::facts;
use crate::fields::{FieldSet, Managed, OneVersion, Ownership, Place, Reach};
use crate::http::body::Body;
use crate::http::fair::Taken;
use crate::http::limits::Ticket;
use crate::http::query::Query;
use crate::http::respond;
use crate::identity::Caller;
use crate::measures;
use crate::negotiate::accept::{Accepted, Shape};
use crate::registry::Resource;
use crate::status::{Result, StatusError};
use crate::store::{Revision, Stored};
use crate::subresource;
use crate::writes::{Context, Conversions, Outcome, Written};

pub(crate) use show::Rows;

/// A request for a resource: authenticated, authorised, read.
pub(crate) struct Ask {
    pub(crate) core: Arc<Core>,
    pub(crate) caller: Caller,
    pub(crate) resource: Arc<Resource>,
    /// Empty for cluster scope and for all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) query: Query,
    pub(crate) accepted: Accepted,
    pub(crate) content_type: String,
    /// Who says that it owns what it writes; see [`Ask::manager`].
    pub(crate) manager: String,
    pub(crate) takes_gzip: bool,
    pub(crate) body: Bytes,
    /// Held until the request is answered.
    pub(crate) _room: Option<Taken>,
    pub(crate) verb: &'static str,
    pub(crate) conversions: Conversions,
}

/// What is answered.
pub(crate) enum Content {
    /// An object in the store.
    Stored(Arc<Stored>),
    /// An object of the resource that is not in the store.
    Object(Value),
    /// Anything else: a `Status`, a `Scale`, the answer to a review. It has one shape only.
    Other(Value),
    /// Objects.
    List(List),
}

/// Objects of the resource, as a list.
pub(crate) struct List {
    pub(crate) objects: Vec<Arc<Stored>>,
    pub(crate) revision: Revision,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
    /// How many objects follow, if that is known.
    pub(crate) remaining: Option<usize>,
}

/// An answer before it has a form.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content: Content,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    pub(crate) fn ok(content: Content) -> Self {
        Self { code: 200, content, warnings: Vec::new() }
    }

    pub(crate) fn created(content: Content) -> Self {
        Self { code: 201, ..Self::ok(content) }
    }
}

impl From<Written> for Answer {
    fn from(written: Written) -> Self {
        let content = match written.outcome {
            Outcome::Stored(stored) => Content::Stored(stored),
            Outcome::Loose(object) => Content::Object(object),
        };
        Self { code: if written.is_created { 201 } else { 200 }, content, warnings: written.warnings }
    }
}

impl Ask {
    /// The context of a write of this request.
    pub(crate) fn context(&self, is_dry_run: bool) -> Context<'_> {
        Context {
            core: &self.core,
            caller: &self.caller,
            resource: &self.resource,
            namespace: &self.namespace,
            subresource: &self.subresource,
            manager: &self.manager,
            is_dry_run,
            query: &self.query,
            is_admitted: false,
            view: None,
            conversions: Some(&self.conversions),
        }
    }

    /// A stored object as the version that is asked for shows it.
    pub(crate) async fn load(&self, stored: &Arc<Stored>) -> Result<Value> {
        self.context(false).load(stored).await
    }

    /// The managedFields of what is created and not stored: an object of a kind beside the resource's own.
    pub(crate) fn fields_of_question(&self, of: facts::Type, api_version: &str, object: &Value) -> Option<Value> {
        let ownership = Ownership {
            versions: &OneVersion { place: Place::Message(of), api_version },
            api_version,
            reach: &Reach::Without(FieldSet::default()),
            manager: &self.manager,
            subresource: &self.subresource,
            now: &self.core.now_text(),
        };
        ownership.update(&facts::canonical::zero_message(of), object, Managed::default()).managed.into_value()
    }

    /// Objects as the version that is asked for shows them.
    async fn shown(&self, content: Content) -> Result<Content> {
        Ok(match content {
            Content::Stored(stored) => {
                let mut shown = self.shown_stored(vec![stored]).await?;
                shown.pop().map_or(Content::Other(Value::Null), Content::Stored)
            }
            Content::List(list) => Content::List(List { objects: self.shown_stored(list.objects).await?, ..list }),
            Content::Object(mut object) => {
                if self.is_about_objects() && self.verb != "delete" && !conceal::is_ended(&object) {
                    conceal::object(&self.resource, &mut object);
                }
                Content::Object(object)
            }
            other => other,
        })
    }

    /// Stored objects as the version that is asked for shows them.
    async fn shown_stored(&self, objects: Vec<Arc<Stored>>) -> Result<Vec<Arc<Stored>>> {
        let mut shown = conversion::shown(&self.core, &self.resource, objects).await?;
        if self.is_about_objects() {
            shown.iter_mut().for_each(|stored| conceal::stored(&self.resource, stored));
        }
        Ok(shown)
    }

    /// Whether it is about the objects themselves, not about a subresource of one.
    fn is_about_objects(&self) -> bool {
        self.subresource.is_empty()
    }

    /// Where the asked-for objects are in their table.
    pub(crate) fn prefix(&self) -> String {
        if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) }
    }
}

/// Answers a request for a resource.
pub(crate) async fn answer(ask: Ask, ticket: Option<Ticket>) -> Result<Response<Body>> {
    if ask.verb == "watch" {
        return watch::answer(ask, ticket);
    }
    if ask.verb == "get" && ask.subresource == "log" {
        return subresource::log::answer(ask, ticket).await;
    }
    let answer = match (ask.verb, ask.subresource.as_str()) {
        ("get" | "list", "") if ask.resource.is_measured() => measures::answer(&ask).await?,
        ("create", "") if ask.resource.is_virtual() => subresource::virtual_kinds::create(&ask).await?,
        ("get", "" | "status") => get::get(&ask).await?,
        ("list", "") => list::list(&ask).await?,
        ("create", "") => write::create(&ask).await?,
        ("update", "" | "status") => write::update(&ask).await?,
        ("patch", "" | "status") => patch::patch(&ask).await?,
        ("delete", "") => write::delete(&ask).await?,
        ("deletecollection", "") => write::delete_collection(&ask).await?,
        (_, "") => return Err(StatusError::method_not_allowed()),
        (_, _) => subresource::answer(&ask).await?,
    };
    let content = ask.shown(answer.content).await?;
    let mut response = form(&ask, answer.code, content)?;
    respond::warn(&mut response, &answer.warnings);
    // A client that does not read its answer still counts as one under way.
    Ok(response.map(|body| match ticket {
        Some(ticket) => body.holding(ticket),
        None => body,
    }))
}

/// Gives an answer the form that the client takes.
fn form(ask: &Ask, code: u16, content: Content) -> Result<Response<Body>> {
    let syntax = ask.accepted.syntax;
    if let Content::Other(value) = &content {
        return respond::value(code, value, syntax);
    }
    let is_plain_json = ask.accepted.shape == Shape::Object
        && syntax == crate::negotiate::accept::Syntax::Json
        && !ask.query.flag("pretty");
    if is_plain_json {
        let body = show::plain_json(&ask.resource, &content)?;
        return Ok(respond::bytes(code, "application/json", body, ask.takes_gzip));
    }
    let value = show::value(ask, &content)?;
    if ask.query.flag("pretty") && syntax == crate::negotiate::accept::Syntax::Json {
        let text = serde_json::to_vec_pretty(&value).map_err(|error| StatusError::internal(&error.to_string()))?;
        return Ok(respond::bytes(code, "application/json", text, ask.takes_gzip));
    }
    let body = respond::encode(&value, syntax)?;
    Ok(respond::bytes(code, syntax.content_type(), body, ask.takes_gzip))
}
