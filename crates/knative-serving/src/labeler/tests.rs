//! Rows of `testdata/`.

use super::{gather, plan};
use crate::golden;

#[test]
fn plans_are_as_written() {
    golden::check("labeler", |given| gather(&given.caches, &given.key).map(|observed| plan(&observed, given.now)));
}
