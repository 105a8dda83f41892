//! Which controller is at work: told by its span, so that a fault can be counted against the one that it meets.

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// The span in which a controller works at a key; its field `controller` has the name.
const SPAN: &str = "reconcile";

/// Has spans remembered, for this process; and what is logged printed where `RUST_LOG` asks for it.
pub fn remember() {
    let is_work = |metadata: &Metadata<'_>| metadata.is_span() && metadata.name() == SPAN;
    let log = EnvFilter::try_from_default_env().ok();
    let log = log.map(|filter| tracing_subscriber::fmt::layer().with_test_writer().with_filter(filter));
    let subscriber = tracing_subscriber::registry().with(Remember.with_filter(filter_fn(is_work))).with(log);
    // Each test of a process tries; the first one does it for all.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The name of the controller at whose work the caller is.
pub(crate) fn name() -> Option<String> {
    tracing::dispatcher::get_default(|dispatch: &Dispatch| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let current = dispatch.current_span();
        let span = registry.span(current.id()?)?;
        span.scope().find_map(|span| span.extensions().get::<Name>().map(|name| name.0.clone()))
    })
}

/// The name of a controller, kept with its span.
struct Name(String);

struct Remember;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Remember {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut found = Find(None);
        attributes.record(&mut found);
        if let (Some(span), Some(name)) = (context.span(id), found.0) {
            span.extensions_mut().insert(Name(name));
        }
    }
}

struct Find(Option<String>);

impl Visit for Find {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "controller" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
