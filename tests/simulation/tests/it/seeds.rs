//! A few seeds; `simulate` runs many.

use simulation::Climate;
use simulation::run::{deaths, end_of, in_both_weathers};

#[test]
fn a_seed_ends_alike_in_both_weathers() {
    assert!(in_both_weathers(7).values().sum::<u64>() > 100, "there was weather");
}

#[test]
fn a_seed_replays_exactly() {
    let [first, second] = [(); 2].map(|()| end_of(7, Climate::STORMY, deaths(7, 400)).trace);
    assert_eq!(first, second, "the same seed ran in two ways");
}
