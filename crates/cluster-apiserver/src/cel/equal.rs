//! Equality, which is paid for by what it looks at.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::eval::{Budget, Fault};
use super::keys::{Key, identity};
use super::value::Val;

impl Val<'_> {
    /// CEL's equality: numbers by value, lists by order (sets do not mind it), maps by keys.
    ///
    /// # Errors
    /// It takes more than the budget has left.
    pub(super) fn equals(&self, other: &Self, budget: &Budget) -> Result<bool, Fault> {
        budget.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => {
                budget.spend(a.len().min(b.len()) / 10)?;
                a.as_ref() == b.as_ref()
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                budget.spend(a.len().min(b.len()) / 10)?;
                a == b
            }
            (Self::Type(a), Self::Type(b)) | (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b, budget)?,
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            _ if self.is_list() && other.is_list() => self.size() == other.size() && self.lists_equal(other, budget)?,
            _ if self.is_map() && other.is_map() => self.maps_equal(other, budget)?,
            _ => self.compare(other) == Some(Ordering::Equal),
        })
    }

    fn maps_equal(&self, other: &Self, budget: &Budget) -> Result<bool, Fault> {
        budget.spend(self.weight(budget.limit(), 1).saturating_add(other.weight(budget.limit(), 1)))?;
        let own = self.entries().unwrap_or_default();
        if own.len() != other.entries().unwrap_or_default().len() {
            return Ok(false);
        }
        for (key, value) in &own {
            let Some(found) = other.value_of(key) else { return Ok(false) };
            if !value.equals(&found, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether two lists of one length are equal.
    fn lists_equal(&self, other: &Self, budget: &Budget) -> Result<bool, Fault> {
        budget.spend(self.weight(budget.limit(), 1).saturating_add(other.weight(budget.limit(), 1)))?;
        let (own, others) = (self.items().unwrap_or_default(), other.items().unwrap_or_default());
        let Some(list) = self.keyed_list() else {
            for (a, b) in own.iter().zip(&others) {
                if !a.equals(b, budget)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        };
        let known: Option<BTreeMap<Vec<Option<Key<'_>>>, &Val<'_>>> =
            others.iter().map(|item| Some((identity(list, item)?, item))).collect();
        for item in &own {
            let is_there = match (&known, identity(list, item)) {
                (Some(known), Some(key)) => match known.get(&key) {
                    Some(found) => item.equals(found, budget)?,
                    None => false,
                },
                _ => item.is_among(&others, budget)?,
            };
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether one of the items is it.
    ///
    /// # Errors
    /// It takes more than the budget has left.
    pub(super) fn is_among(&self, items: &[Self], budget: &Budget) -> Result<bool, Fault> {
        Ok(self.place_among(items.iter(), budget)?.is_some())
    }

    /// Which of the items it is.
    ///
    /// # Errors
    /// It takes more than the budget has left.
    pub(super) fn place_among<'v>(
        &self,
        items: impl Iterator<Item = &'v Self>,
        budget: &Budget,
    ) -> Result<Option<usize>, Fault>
    where
        Self: 'v,
    {
        for (place, item) in items.enumerate() {
            if item.equals(self, budget)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}
