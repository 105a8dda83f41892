//! Rows of `testdata/`.

use super::{gather, plan};
use crate::golden;

#[test]
fn plans_are_as_written() {
    golden::check("serverless_service", |given| {
        let observed = gather(&given.caches, &given.configs.settings.system_namespace, &given.key);
        observed.map(|observed| plan(&observed, given.now))
    });
}
