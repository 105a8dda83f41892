//! Randomness for choices on the request path: one small generator per thread, seeded by the system.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

thread_local! {
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// Even bits. Not for secrets.
pub(crate) fn bits() -> u64 {
    GENERATOR.with_borrow_mut(|generator| generator.random())
}

/// 32 even bits.
pub(crate) fn bits32() -> u32 {
    GENERATOR.with_borrow_mut(|generator| generator.random())
}
