//! Rows of `testdata/`. A row's facts are what is known about its digests: a [`Resolution`] as JSON, pending if absent.

use knative_apis::serving::v1::ContainerStatus;
use serde::Deserialize;

use super::observe::gather;
use super::plan::plan;
use crate::digest::{DigestFacts, Resolution};
use crate::golden;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Facts {
    Resolved { containers: Vec<ContainerStatus> },
    Failed { message: String },
}

#[test]
fn plans_are_as_written() {
    golden::check("revision", |given| {
        let mut observed = gather(&given.caches, &DigestFacts::default(), &given.key)?;
        observed.digests = match serde_json::from_value(given.facts.clone()) {
            Ok(Facts::Resolved { containers }) => Resolution::Resolved { containers, init_containers: Vec::new() },
            Ok(Facts::Failed { message }) => Resolution::Failed { message },
            Err(_) => Resolution::Pending,
        };
        Some(plan(&observed, &given.configs, given.now))
    });
}
