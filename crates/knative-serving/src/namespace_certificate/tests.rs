//! Rows of `testdata/`.

use super::observe::gather;
use super::plan::plan;
use crate::golden;

#[test]
fn plans_are_as_written() {
    golden::check("namespace_certificate", |given| {
        gather(&given.caches, &given.configs, &given.key).map(|observed| plan(&observed, &given.configs))
    });
}
