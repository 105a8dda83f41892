//! The rules of the living condition set, as a table and as properties.

use super::*;
use proptest::prelude::*;

const SET: ConditionSet = ConditionSet::living(&["Bar", "Foo"]);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn status(conditions: &[Condition], type_: &str) -> Option<(ConditionStatus, String)> {
    conditions.iter().find(|c| c.type_ == type_).map(|c| (c.status, c.reason.clone()))
}

fn ready(conditions: &[Condition]) -> (ConditionStatus, String) {
    status(conditions, READY).expect("a Ready condition")
}

#[test]
fn a_new_object_is_unknown_in_everything_it_depends_on() {
    let mut conditions = Vec::new();
    ConditionManager::new(SET, &mut conditions, at(0)).initialize();
    let types: Vec<_> = conditions.iter().map(|c| (c.type_.as_str(), c.status, c.severity)).collect();
    let unknown = |type_| (type_, ConditionStatus::Unknown, Severity::Error);
    assert_eq!(types, [unknown("Bar"), unknown("Foo"), unknown("Ready")]);
}

#[test]
fn a_dependent_added_to_a_ready_object_is_true() {
    let mut conditions = Vec::new();
    ConditionManager::new(ConditionSet::living(&[]), &mut conditions, at(0)).initialize().mark_true(READY);
    ConditionManager::new(SET, &mut conditions, at(1)).initialize();
    assert!(conditions.iter().all(Condition::is_true));
}

#[test]
fn false_beats_unknown_beats_true() {
    let mut conditions = Vec::new();
    let mut manager = ConditionManager::new(SET, &mut conditions, at(0));
    manager.initialize().mark_true("Foo");
    assert_eq!(ready(&conditions).0, ConditionStatus::Unknown);
    let mut manager = ConditionManager::new(SET, &mut conditions, at(1));
    manager.mark_false("Bar", "Broken", "it is broken");
    assert_eq!(ready(&conditions), (ConditionStatus::False, "Broken".to_owned()));
    let mut manager = ConditionManager::new(SET, &mut conditions, at(2));
    manager.mark_unknown("Foo", "Working", "");
    assert_eq!(ready(&conditions), (ConditionStatus::False, "Broken".to_owned()));
    let mut manager = ConditionManager::new(SET, &mut conditions, at(3));
    manager.mark_true("Bar");
    assert_eq!(ready(&conditions), (ConditionStatus::Unknown, "Working".to_owned()));
    ConditionManager::new(SET, &mut conditions, at(4)).mark_true("Foo");
    assert_eq!(ready(&conditions), (ConditionStatus::True, String::new()));
}

#[test]
fn of_two_failures_the_latest_is_told() {
    let mut conditions = Vec::new();
    ConditionManager::new(SET, &mut conditions, at(0)).initialize().mark_false("Foo", "First", "");
    ConditionManager::new(SET, &mut conditions, at(5)).mark_false("Bar", "Second", "");
    ConditionManager::new(SET, &mut conditions, at(6)).mark_true("Other");
    assert_eq!(ready(&conditions), (ConditionStatus::False, "Second".to_owned()));
}

#[test]
fn what_is_no_dependent_is_information() {
    let mut conditions = Vec::new();
    let mut manager = ConditionManager::new(SET, &mut conditions, at(0));
    manager.initialize().mark_true("Foo").mark_true("Bar").mark_false("Active", "NoTraffic", "idle");
    assert_eq!(ready(&conditions).0, ConditionStatus::True);
    let active = conditions.iter().find(|c| c.type_ == "Active").expect("Active");
    assert_eq!(active.severity, Severity::Info);
    ConditionManager::new(SET, &mut conditions, at(0)).clear("Active").clear("Foo");
    assert_eq!(status(&conditions, "Active"), None);
    assert!(status(&conditions, "Foo").is_some());
}

#[test]
fn the_time_moves_only_with_the_content() {
    let mut conditions = Vec::new();
    ConditionManager::new(SET, &mut conditions, at(0)).initialize().mark_false("Foo", "A", "m");
    let before = conditions.clone();
    ConditionManager::new(SET, &mut conditions, at(9)).initialize().mark_false("Foo", "A", "m");
    assert_eq!(conditions, before);
    ConditionManager::new(SET, &mut conditions, at(9)).mark_false("Foo", "A", "other");
    let foo = conditions.iter().find(|c| c.type_ == "Foo").expect("Foo");
    assert_eq!(foo.since(), Some(at(9)));
}

#[test]
fn times_have_whole_seconds_as_the_api_stores_them() {
    let mut conditions = Vec::new();
    let now = at(0) + jiff::SignedDuration::from_millis(700);
    ConditionManager::new(SET, &mut conditions, now).initialize();
    let stored: Vec<Condition> =
        serde_json::from_str(&serde_json::to_string(&conditions).expect("json")).expect("conditions");
    assert_eq!(stored, conditions);
}

#[test]
fn json_is_knatives() {
    let condition = Condition {
        type_: "Active".to_owned(),
        status: ConditionStatus::False,
        severity: Severity::Info,
        last_transition_time: Some(Time(at(0))),
        reason: "NoTraffic".to_owned(),
        message: String::new(),
    };
    assert_eq!(
        serde_json::to_value(&condition).expect("json"),
        serde_json::json!({
            "type": "Active", "status": "False", "severity": "Info", "reason": "NoTraffic",
            "lastTransitionTime": "2023-11-14T22:13:20Z",
        })
    );
    let tolerant: Condition = serde_json::from_value(serde_json::json!({
        "type": "X", "status": "Maybe", "severity": null, "lastTransitionTime": null, "new": 1,
    }))
    .expect("a condition");
    assert!(tolerant.is_unknown());
}

fn any_mark() -> impl Strategy<Value = (usize, usize, u8)> {
    (0..3usize, 0..3usize, 0..3u8)
}

proptest! {
    /// Whatever is marked in whatever order: Ready is True exactly if all dependents are, False
    /// exactly if one is, and the list stays sorted with one condition of a type.
    #[test]
    fn ready_follows_from_the_dependents(marks in proptest::collection::vec(any_mark(), 1..40)) {
        let mut conditions = Vec::new();
        ConditionManager::new(SET, &mut conditions, at(0)).initialize();
        for (second, (type_, status, reason)) in marks.into_iter().enumerate() {
            let type_ = ["Foo", "Bar", "Info"][type_];
            let reason = format!("R{reason}");
            let mut manager = ConditionManager::new(SET, &mut conditions, at(second as i64));
            match status {
                0 => manager.mark_true(type_),
                1 => manager.mark_false(type_, &reason, ""),
                _ => manager.mark_unknown(type_, &reason, ""),
            };
            let of = |t: &str| status_of(&conditions, t);
            let want = match (of("Foo"), of("Bar")) {
                (ConditionStatus::False, _) | (_, ConditionStatus::False) => ConditionStatus::False,
                (ConditionStatus::True, ConditionStatus::True) => ConditionStatus::True,
                _ => ConditionStatus::Unknown,
            };
            prop_assert_eq!(of(READY), want);
            prop_assert!(conditions.windows(2).all(|pair| pair[0].type_ < pair[1].type_));
        }
    }
}

fn status_of(conditions: &[Condition], type_: &str) -> ConditionStatus {
    conditions.iter().find(|c| c.type_ == type_).expect("present").status
}
