//! Amounts by resource: a `ResourceList`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// Amounts by resource, in the order of the names. A resource that is not named counts as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl Amounts {
    /// What a `ResourceList` says; what is no quantity is left out.
    pub fn of(list: &Value) -> Self {
        let entries = list.as_object().into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.clone(), Quantity::parse(value.as_str()?).ok()?))).collect()
    }

    /// How much of one resource, if it is named.
    pub fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    /// Names an amount.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Every resource and its amount.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }

    /// The names of the resources.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether no resource is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let sum = self.get(name).map_or_else(|| amount.clone(), |own| own.plus(amount));
            self.set(name, sum);
        }
    }

    /// Raises every amount to what the other names.
    pub fn raise_to(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            if self.get(name).is_none_or(|own| own < amount) {
                self.set(name, amount.clone());
            }
        }
    }

    /// What is more here than in the other; what is not is left out.
    #[must_use]
    pub fn excess_over(&self, other: &Self) -> Self {
        let more = self.iter().map(|(name, amount)| {
            (name.to_owned(), other.get(name).map_or_else(|| amount.clone(), |less| amount.plus(&less.negated())))
        });
        more.filter(|(_, amount)| !amount.is_zero() && !amount.is_negative()).collect()
    }

    /// Only the resources that are wanted.
    #[must_use]
    pub fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let wanted = self.0.iter().filter(|(name, _)| is_wanted(name));
        wanted.map(|(name, amount)| (name.clone(), amount.clone())).collect()
    }
}

impl FromIterator<(String, Quantity)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// As refusals list them: `cpu=1,pods=2`.
impl std::fmt::Display for Amounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, amount)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{name}={amount}")?;
        }
        Ok(())
    }
}
