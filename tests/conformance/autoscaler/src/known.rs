//! Differences that are meant to be there.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::question::Cause;

/// The list of them, each cause once, with its reason.
pub(crate) struct Known(Vec<Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    cause: Cause,
    reason: String,
}

impl Known {
    /// Reads the list that this program carries.
    pub(crate) fn load() -> Result<Self> {
        let list: Vec<Entry> = serde_saphyr::from_str(include_str!("../data/known.yaml")).context("known.yaml")?;
        for (index, entry) in list.iter().enumerate() {
            if list.iter().take(index).any(|other| other.cause == entry.cause) {
                bail!("known.yaml lists {:?} twice", entry.cause);
            }
        }
        Ok(Self(list))
    }

    /// Why this may cause a difference, if it may.
    pub(crate) fn reason(&self, cause: Cause) -> Option<&str> {
        self.0.iter().find(|entry| entry.cause == cause).map(|entry| entry.reason.as_str())
    }
}
