//! What operations are made of: for every kind an object, changes to it that are right and wrong, and what applies to all kinds.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

const KINDS: [&str; 7] = [
    include_str!("../data/configmaps.yaml"),
    include_str!("../data/secrets.yaml"),
    include_str!("../data/services.yaml"),
    include_str!("../data/deployments.yaml"),
    include_str!("../data/leases.yaml"),
    include_str!("../data/widgets.yaml"),
    include_str!("../data/gadgets.yaml"),
];

/// A kind of objects. Changes are merge patches.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) plural: String,
    /// The path of its group.
    pub(crate) group: String,
    pub(crate) versions: Vec<String>,
    pub(crate) base: Value,
    pub(crate) valid: Vec<Value>,
    pub(crate) invalid: Vec<Value>,
    pub(crate) json: Vec<Value>,
    pub(crate) strategic: Vec<Value>,
    #[serde(default)]
    pub(crate) status: Vec<Value>,
    #[serde(default)]
    pub(crate) list: Vec<Map<String, Value>>,
    #[serde(default)]
    pub(crate) scale: bool,
}

/// What every kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Common {
    pub(crate) valid: Vec<Value>,
    pub(crate) invalid: Vec<Value>,
    pub(crate) json: Vec<Value>,
    pub(crate) text: Vec<String>,
    pub(crate) delete: Vec<Value>,
    pub(crate) list: Vec<Map<String, Value>>,
    pub(crate) watch: Vec<Map<String, Value>>,
}

/// All of it.
pub(crate) struct Catalogue {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) common: Common,
    /// The definitions of the custom kinds.
    pub(crate) definitions: Vec<Value>,
}

impl Catalogue {
    /// Reads what this program carries.
    pub(crate) fn load() -> Result<Self> {
        let kinds = KINDS.iter().map(|text| serde_saphyr::from_str(text).context("data of a kind"));
        Ok(Self {
            kinds: kinds.collect::<Result<_>>()?,
            common: serde_saphyr::from_str(include_str!("../data/common.yaml")).context("common.yaml")?,
            definitions: serde_saphyr::from_str(include_str!("../data/crds.yaml")).context("crds.yaml")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_data_is_read() {
        assert_eq!(super::Catalogue::load().unwrap().kinds.len(), 7);
    }
}
