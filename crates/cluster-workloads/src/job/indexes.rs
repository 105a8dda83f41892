//! Sets of completion indexes, and their form in a status: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt;

/// A set of indexes as ranges, both ends included: in order, and not next to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads what [`fmt::Display`] writes; indexes from `completions` on are left out, and so is what is no range.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let range = |part: &str| -> Option<(i32, i32)> {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse::<i32>().ok()?.min(completions - 1));
            (0 <= first && first <= last).then_some((first, last))
        };
        text.split(',').filter_map(range).fold(Self::default(), Self::followed_by)
    }

    /// With a range that does not begin before the last one does.
    fn followed_by(mut self, (first, last): (i32, i32)) -> Self {
        match self.0.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => self.0.push((first, last)),
        }
        self
    }

    /// What is in either.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut ranges: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        ranges.sort_unstable();
        ranges.into_iter().fold(Self::default(), Self::followed_by)
    }

    /// How many there are.
    pub(super) fn len(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub(super) fn shared_with(&self, other: &Self) -> i32 {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut count = 0;
        while let (Some(one), Some(two)) = (ours.peek(), theirs.peek()) {
            count += (one.1.min(two.1) - one.0.max(two.0) + 1).max(0);
            if one.1 <= two.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        count
    }

    /// The first `count` indexes below `completions` that are not in it.
    pub(super) fn absent(&self, count: usize, completions: i32) -> Vec<i32> {
        let ends = self.0.iter().copied().chain([(completions, completions)]);
        let gaps = ends.scan(0, |next, (first, last)| Some(std::mem::replace(next, last.saturating_add(1))..first));
        gaps.flatten().filter(|index| *index < completions).take(count).collect()
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Self {
        let indexes: BTreeSet<i32> = indexes.into_iter().collect();
        indexes.into_iter().map(|index| (index, index)).fold(Self::default(), Self::followed_by)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{first}")?;
            if first < last {
                let to = if last - first == 1 { "," } else { "-" };
                write!(f, "{to}{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_what_its_text_says() {
        for (text, len) in [("", 0), ("0", 1), ("1,3-5,7", 5), ("0,1", 2), ("0-99", 100)] {
            let indexes = Indexes::parse(text, 100);
            assert_eq!((indexes.to_string().as_str(), indexes.len()), (text, len));
        }
        assert_eq!(Indexes::parse("1,x,3-9,12", 6).to_string(), "1,3-5", "above the completions, or nonsense");
        assert_eq!([3, 1, 2, 7, 8, 10].into_iter().collect::<Indexes>().to_string(), "1-3,7,8,10");
    }

    #[test]
    fn sets_are_joined_and_compared() {
        let set = |text: &str| Indexes::parse(text, 100);
        assert_eq!(set("1,4-6").union(&set("2,3,9")).to_string(), "1-6,9");
        assert_eq!(set("0-9").union(&set("3")).to_string(), "0-9");
        assert_eq!(set("0-3,6-9").shared_with(&set("2-7,9")), 5);
        assert_eq!(set("").shared_with(&set("0")), 0);
        assert!(set("1,4-6").has(5) && !set("1,4-6").has(3) && !set("1").has(2));
        assert_eq!(set("1,4-6").absent(10, 9), [0, 2, 3, 7, 8]);
        assert_eq!(set("").absent(2, 9), [0, 1]);
        assert_eq!(set("0-20").absent(2, 9), [0i32; 0]);
    }
}
