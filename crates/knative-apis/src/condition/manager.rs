//! Marks conditions and keeps the one that sums up true to the rest.

use super::{Condition, ConditionSet, ConditionStatus, Severity};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Changes one list of conditions as of one moment.
#[derive(Debug)]
pub struct ConditionManager<'a> {
    set: ConditionSet,
    conditions: &'a mut Vec<Condition>,
    now: Timestamp,
}

impl<'a> ConditionManager<'a> {
    /// Manages `conditions` by the rules of `set`; `now` is cut to whole seconds.
    pub fn new(set: ConditionSet, conditions: &'a mut Vec<Condition>, now: Timestamp) -> Self {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { set, conditions, now }
    }

    /// The condition of a type, if it is there.
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Gives every dependent a value: Unknown, or True if the whole is True already.
    pub fn initialize(&mut self) -> &mut Self {
        let happy = self.set.happy();
        let status = match self.get(happy) {
            Some(condition) if condition.is_true() => ConditionStatus::True,
            Some(_) => ConditionStatus::Unknown,
            None => {
                self.put(happy, ConditionStatus::Unknown, "", "");
                ConditionStatus::Unknown
            }
        };
        for dependent in self.set.dependents() {
            if self.get(dependent).is_none() {
                self.put(dependent, status, "", "");
            }
        }
        self
    }

    /// Marks a condition True.
    pub fn mark_true(&mut self, type_: &str) -> &mut Self {
        self.mark_true_with_reason(type_, "", "")
    }

    /// Marks a condition True and says why.
    pub fn mark_true_with_reason(&mut self, type_: &str, reason: &str, message: &str) -> &mut Self {
        self.put(type_, ConditionStatus::True, reason, message);
        self.recompute_happy(type_);
        self
    }

    /// Marks a condition Unknown; so is the whole, unless a dependent is False.
    pub fn mark_unknown(&mut self, type_: &str, reason: &str, message: &str) -> &mut Self {
        self.put(type_, ConditionStatus::Unknown, reason, message);
        let happy = self.set.happy();
        if self.set.dependents().iter().any(|dependent| self.is_false(dependent)) {
            if !self.is_false(happy) {
                self.put(happy, ConditionStatus::False, reason, message);
            }
        } else if self.set.is_dependent(type_) {
            self.put(happy, ConditionStatus::Unknown, reason, message);
        }
        self
    }

    /// Marks a condition False; so is the whole, if it is a dependent.
    pub fn mark_false(&mut self, type_: &str, reason: &str, message: &str) -> &mut Self {
        self.put(type_, ConditionStatus::False, reason, message);
        if self.set.is_dependent(type_) {
            self.put(self.set.happy(), ConditionStatus::False, reason, message);
        }
        self
    }

    /// Marks a condition as another object's condition says; absent means: leave it.
    pub fn copy(&mut self, type_: &str, from: Option<&Condition>) -> &mut Self {
        match from.map(|condition| (condition.status, condition)) {
            None => self,
            Some((ConditionStatus::True, _)) => self.mark_true(type_),
            Some((ConditionStatus::False, c)) => self.mark_false(type_, &c.reason, &c.message),
            Some((ConditionStatus::Unknown, c)) => self.mark_unknown(type_, &c.reason, &c.message),
        }
    }

    /// Sets a condition as it is given, without touching any other.
    pub fn set(&mut self, condition: Condition) -> &mut Self {
        let place = self.conditions.iter_mut().find(|held| held.type_ == condition.type_);
        match place {
            Some(held) if held.says_the_same(&condition) => return self,
            Some(held) => *held = condition,
            None => self.conditions.push(condition),
        }
        self.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        self
    }

    /// Removes a condition that is information only; one that makes the whole stays.
    pub fn clear(&mut self, type_: &str) -> &mut Self {
        if self.set.severity(type_) == Severity::Info {
            self.conditions.retain(|condition| condition.type_ != type_);
        }
        self
    }

    fn is_false(&self, type_: &str) -> bool {
        self.get(type_).is_some_and(Condition::is_false)
    }

    fn put(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: &str) {
        self.set(Condition {
            type_: type_.to_owned(),
            status,
            severity: self.set.severity(type_),
            last_transition_time: Some(Time(self.now)),
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    fn recompute_happy(&mut self, marked: &str) {
        let happy = self.set.happy();
        match self.unhappy_dependent() {
            Some((status, reason, message)) => self.put(happy, status, &reason, &message),
            None if marked != happy => self.put(happy, ConditionStatus::True, "", ""),
            None => {}
        }
    }

    /// What keeps the whole from being True: the False condition that changed last, else the
    /// Unknown one, else a dependent that has no value yet.
    fn unhappy_dependent(&self) -> Option<(ConditionStatus, String, String)> {
        if self.set.dependents().is_empty() {
            return None;
        }
        let happy = self.set.happy();
        let mut held: Vec<&Condition> =
            self.conditions.iter().filter(|c| c.severity == Severity::Error && c.type_ != happy).collect();
        held.sort_by_key(|condition| std::cmp::Reverse(condition.since()));
        let unhappy = held.iter().find(|c| c.is_false()).or_else(|| held.iter().find(|c| c.is_unknown()));
        if let Some(c) = unhappy {
            return Some((c.status, c.reason.clone(), c.message.clone()));
        }
        let missing = self.set.dependents().len() > held.len();
        missing.then(|| (ConditionStatus::Unknown, String::new(), String::new()))
    }
}
