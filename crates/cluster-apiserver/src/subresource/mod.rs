//! What stands below objects in paths, besides `status`: scale, log, binding, eviction, finalize, token.
//!
//! Streams into Pods are in [`streams`](crate::streams).

mod binding;
mod eviction;
mod finalize;
pub(crate) mod log;
mod pod;
pub(crate) mod reviews;
mod scale;
mod token;
pub(crate) mod virtual_kinds;

use crate::status::{Result, StatusError};
use crate::verbs::{Answer, Ask};

/// Answers a request for a subresource.
pub(crate) async fn answer(ask: &Ask) -> Result<Answer> {
    let resource = ask.resource.as_ref();
    match (ask.verb, ask.subresource.as_str()) {
        ("get", "scale") => scale::get(ask).await,
        ("update" | "patch", "scale") => scale::write(ask).await,
        ("create", "binding") if resource.is("", "pods") => binding::create(ask, &ask.name).await,
        ("create", "eviction") if resource.is("", "pods") => eviction::evict(ask).await,
        ("update", "finalize") if resource.is("", "namespaces") => finalize::update(ask).await,
        ("create", "token") if resource.is("", "serviceaccounts") => token::create(ask).await,
        ("get" | "update" | "patch", "ephemeralcontainers" | "resize") => pod::write_part(ask).await,
        (_, sub) => {
            let message = format!("this server does not serve {}/{sub} yet", resource.plural);
            Err(StatusError::not_implemented(message))
        }
    }
}
