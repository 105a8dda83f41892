//! Mutations: each input is one of the corpus, or of what came of it, changed in a few places.

/// The longest input.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// Bytes that mean something to one reader or another.
const WORDS: [&[u8]; 42] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"\\u0000",
    b"\\ud800",
    b"&a ",
    b"*a",
    b"<<: ",
    b"- ",
    b"!!binary ",
    b"|\n",
    b"---\n",
    b"\n---\n",
    b"%2e%2e%2f",
    b"../",
    b"/",
    b"..",
    b"in (",
    b"!",
    b"=",
    b"~1",
    b"$patch",
    b"$retainKeys",
    b"f:",
    b"k:{\"name\":\"a\"}",
    b"v:1",
    b"\n",
    b"host: ",
    b"connection: ",
    b"x-forwarded-for: ",
    b"*.",
    b":80",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
];
/// Numbers where readers go wrong.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Random numbers that follow from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(length + 1), self.below(length + 1));
        // Mostly short ones.
        let end = if self.below(4) > 0 { one.min(other) + self.below(9) } else { one.max(other) };
        one.min(other)..end.min(length)
    }
}

/// Changes `input` in one to eight places.
pub(crate) fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 << random.below(4) {
        change(input, others, random);
    }
    input.truncate(MAX_BYTES);
}

fn change(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(10) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            let byte = u8::try_from(random.below(256)).unwrap_or_default();
            input.insert(at, byte);
        }
        3 => drop(input.drain(random.range(input.len()))),
        4 | 5 => {
            let word = random.of(&WORDS).copied().unwrap_or_default();
            input.splice(at..at, word.iter().copied());
        }
        6 => write_number(input, at, random),
        7 => repeat(input, random),
        _ => {
            let other = random.of(others).map_or(&[][..], Vec::as_slice);
            let piece = other.get(random.range(other.len())).unwrap_or_default().to_vec();
            let end = if random.below(2) == 0 { at } else { (at + piece.len()).min(input.len()) };
            input.splice(at..end, piece);
        }
    }
}

fn write_number(input: &mut [u8], at: usize, random: &mut Random) {
    let number = random.of(&NUMBERS).copied().unwrap_or_default();
    let bytes = if random.below(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
    let width = 1 << random.below(4);
    let bytes = bytes.get(8 - width..).unwrap_or_default();
    if let Some(place) = input.get_mut(at..at + width) {
        place.copy_from_slice(bytes);
    }
}

/// A piece many times: what is nested is nested deeper, what is listed is longer.
fn repeat(input: &mut Vec<u8>, random: &mut Random) {
    let range = random.range(input.len());
    let piece = input.get(range.clone()).unwrap_or_default();
    let times = (1 << random.below(12)).min(MAX_BYTES / piece.len().max(1));
    let pieces = piece.repeat(times);
    input.splice(range.end..range.end, pieces);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_inputs() {
        let corpus = vec![b"{\"a\": [1, 2]}".to_vec(), b"x".to_vec(), Vec::new()];
        let inputs = |seed| -> Vec<Vec<u8>> {
            let mut random = Random(seed);
            let mut input = corpus[0].clone();
            let mut inputs = Vec::new();
            for _ in 0..1_000 {
                mutate(&mut input, &corpus, &mut random);
                inputs.push(input.clone());
            }
            inputs
        };
        assert!(inputs(1) == inputs(1) && inputs(1) != inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= MAX_BYTES));
    }
}
