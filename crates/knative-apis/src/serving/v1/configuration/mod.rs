//! Configuration: makes a Revision for each change of its template.

mod defaults;
mod lifecycle;
mod types;
mod validation;

pub(crate) use defaults::default_template;
pub use types::{Configuration, ConfigurationSpec, ConfigurationStatus};
