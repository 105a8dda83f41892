//! Rows of `testdata/`, and what no row can say.

use super::{gather, plan};
use crate::golden;

#[test]
fn plans_are_as_written() {
    golden::check("configuration", |given| {
        gather(&given.caches, &given.key).map(|observed| plan(&observed, given.now))
    });
}
