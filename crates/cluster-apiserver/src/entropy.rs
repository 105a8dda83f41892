//! Random numbers for uids, generated names and jitter; seeded in simulations so that a run can be replayed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// The alphabet of generated names: no vowels, nothing that looks like something else.
const NAME_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How long the generated end of a name is.
const NAME_SUFFIX_LENGTH: usize = 5;
/// How long a base of a generated name may be: names have at most 63 characters.
const NAME_BASE_MAX: usize = 63 - NAME_SUFFIX_LENGTH;

/// A shared source of random numbers.
#[derive(Clone, Debug)]
pub struct Entropy(Arc<Mutex<StdRng>>);

impl Entropy {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// The same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        self.with(RngCore::next_u64)
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }

    /// A new uid, in the form of UUID version 4.
    pub fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A name that begins with `base`.
    pub fn name(&self, base: &str) -> String {
        let mut name: String = base.chars().take(NAME_BASE_MAX).collect();
        for _ in 0..NAME_SUFFIX_LENGTH {
            let index = usize::try_from(self.below(NAME_ALPHABET.len() as u64)).unwrap_or_default();
            name.push(char::from(NAME_ALPHABET.get(index).copied().unwrap_or(b'x')));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_names_and_uids_again() {
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(a.uid(), b.uid());
        assert_eq!(a.name("x-"), b.name("x-"));
        assert_ne!(a.uid(), a.uid());
        assert_eq!(uuid::Uuid::parse_str(&a.uid()).expect("uuid").get_version_num(), 4);
        assert_eq!(a.name(&"y".repeat(100)).len(), 63);
    }
}
