//! Tracing set-up: one subscriber per process, text for a person, JSON lines for a machine.

use std::io::IsTerminal;

use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use tracing_subscriber::filter::ParseError;

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: one line of text, coloured on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Whether [`init`] will take this filter.
///
/// # Errors
/// The filter does not parse.
pub fn check(filter: &str) -> Result<(), ParseError> {
    parse(filter).map(drop)
}

/// Sends all tracing of this process to standard error. `filter` is a `tracing` filter such as `info,base_controller=debug`.
///
/// Call it once, first thing; a second call does nothing.
///
/// # Errors
/// The filter does not parse.
pub fn init(filter: &str, format: Format) -> Result<(), ParseError> {
    let _ = tracing_subscriber::registry().with(to_stderr(filter, format)?).try_init();
    Ok(())
}

/// [`init`]; and what passes the filter of `beside` goes to its writer too, as lines of text without a time.
///
/// # Errors
/// A filter does not parse.
pub fn init_beside<W>(filter: &str, format: Format, beside: (&str, W)) -> Result<(), ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (its_filter, writer) = beside;
    let lines = fmt::layer().log_internal_errors(false).with_ansi(false).without_time().with_writer(writer);
    let lines = lines.with_filter(parse(its_filter)?);
    let _ = tracing_subscriber::registry().with(to_stderr(filter, format)?).with(lines).try_init();
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}

fn to_stderr(filter: &str, format: Format) -> Result<impl Layer<Registry> + Send + Sync + 'static, ParseError> {
    let layer = fmt::layer()
        // A log that cannot be written (a full disk) is lost; the complaint about that would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let layer = match format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().boxed(),
    };
    Ok(layer.with_filter(parse(filter)?))
}
