//! What a Route makes: an [`ingress`] and [`placeholder`] Services. Pure makers.

mod ingress;
mod placeholder;

pub(crate) use ingress::KEPT_ANNOTATIONS;
pub(super) use ingress::make_ingress;
pub(super) use placeholder::{Alias, Placeholder, Transition, alias, make_placeholder, transition};
