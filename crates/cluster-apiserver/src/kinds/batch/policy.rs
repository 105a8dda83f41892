//! When a Job's Pods or the Job itself have failed or succeeded: `podFailurePolicy`, `successPolicy`, `podReplacementPolicy`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::check::{Errors, non_negative, supported_value};
use crate::{
    field_error::{FieldError, FieldPath, FieldReason, quote},
    names,
    value::{at, i64_at, list_at, str_at},
};

const MAX_RULES: usize = 20;
const MAX_PATTERNS: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_INDEXES_BYTES: usize = 64 * 1024;

/// Checks the policies of a Job's spec.
pub(super) fn validate(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(policy) = at(spec, &["podFailurePolicy"]) {
        let policy_path = path.child("podFailurePolicy");
        let rules_path = policy_path.child("rules");
        let rules = list_at(policy, &["rules"]);
        too_many(rules.len(), MAX_RULES, &rules_path, errors);
        for (index, rule) in rules.iter().enumerate() {
            validate_failure_rule(spec, rule, &rules_path.index(index), errors);
        }
    }
    if let Some(policy) = at(spec, &["successPolicy"]) {
        let field = path.child("successPolicy");
        if str_at(spec, &["completionMode"]) == "Indexed" {
            validate_success(spec, policy, &field, errors);
        } else {
            errors.push(FieldError::invalid(&field, policy, "requires indexed completion mode"));
        }
    }
    let replacement = str_at(spec, &["podReplacementPolicy"]);
    if !replacement.is_empty() {
        let has_failure_policy = at(spec, &["podFailurePolicy"]).is_some();
        let supported: &[&str] = if has_failure_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        supported_value(replacement, supported, &path.child("podReplacementPolicy"), errors);
    }
}

fn validate_failure_rule(spec: &Value, rule: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("action");
    let action = str_at(rule, &["action"]);
    required_one_of(action, &["Count", "FailIndex", "FailJob", "Ignore"], &field, errors);
    if action == "FailIndex" && at(spec, &["backoffLimitPerIndex"]).is_none() {
        errors.push(FieldError::invalid(&field, action, "requires the backoffLimitPerIndex to be set"));
    }
    let codes = at(rule, &["onExitCodes"]);
    if let Some(codes) = codes {
        validate_exit_codes(spec, codes, &path.child("onExitCodes"), errors);
    }
    let patterns = list_at(rule, &["onPodConditions"]);
    validate_patterns(patterns, &path.child("onPodConditions"), errors);
    if codes.is_some() != patterns.is_empty() {
        let what = if codes.is_some() {
            "both OnExitCodes and OnPodConditions is not supported"
        } else {
            "one of OnExitCodes and OnPodConditions is required"
        };
        let message = format!("Invalid value: specifying {what}");
        errors.push(FieldError { reason: FieldReason::Invalid, field: path.to_string(), message });
    }
}

fn validate_patterns(patterns: &[Value], path: &FieldPath<'_>, errors: &mut Errors) {
    too_many(patterns.len(), MAX_PATTERNS, path, errors);
    for (index, pattern) in patterns.iter().enumerate() {
        let item = path.index(index);
        let kind = str_at(pattern, &["type"]);
        let field = item.child("type");
        errors.extend(names::qualified_name(kind).iter().map(|text| FieldError::invalid(&field, kind, text)));
        required_one_of(str_at(pattern, &["status"]), &["False", "True", "Unknown"], &item.child("status"), errors);
    }
}

fn validate_exit_codes(spec: &Value, codes: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let operator = str_at(codes, &["operator"]);
    required_one_of(operator, &["In", "NotIn"], &path.child("operator"), errors);
    if let Some(name) = at(codes, &["containerName"]).and_then(Value::as_str) {
        let pod = &spec["template"]["spec"];
        let containers = list_at(pod, &["containers"]).iter().chain(list_at(pod, &["initContainers"]));
        if !containers.into_iter().any(|container| str_at(container, &["name"]) == name) {
            let text = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(&path.child("containerName"), name, text));
        }
    }
    let field = path.child("values");
    let values: Vec<i64> = list_at(codes, &["values"]).iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(FieldError::invalid(&field, &codes["values"], "at least one value is required"));
    }
    too_many(values.len(), MAX_EXIT_CODES, &field, errors);
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.push(FieldError::invalid(&field.index(index), *value, "must not be 0 for the In operator"));
        }
        if !seen.insert(*value) {
            errors.push(FieldError::duplicate(&field.index(index), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(&field, &codes["values"], "must be ordered"));
    }
}

fn validate_success(spec: &Value, policy: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let rules_path = path.child("rules");
    let rules = list_at(policy, &["rules"]);
    if rules.is_empty() {
        let text = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&rules_path, text));
    }
    too_many(rules.len(), MAX_RULES, &rules_path, errors);
    let completions = i64_at(spec, &["completions"]).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        validate_success_rule(rule, completions, &rules_path.index(index), errors);
    }
}

fn validate_success_rule(rule: &Value, completions: i64, path: &FieldPath<'_>, errors: &mut Errors) {
    let count = i64_at(rule, &["succeededCount"]);
    let text = at(rule, &["succeededIndexes"]).and_then(Value::as_str);
    if count.is_none() && text.is_none() {
        errors.push(FieldError::required(path, "at least one of succeededCount or succeededIndexes must be specified"));
    }
    let mut total = 0;
    if let Some(text) = text {
        let field = path.child("succeededIndexes");
        if text.len() > MAX_INDEXES_BYTES {
            errors.push(FieldError::too_long(&field, MAX_INDEXES_BYTES));
        }
        match indexes(text, completions) {
            Ok(indexes) => total = indexes.len(),
            Err(why) => {
                errors.push(FieldError::invalid(&field, text, &format!("error parsing succeededIndexes: {why}")));
            }
        }
    }
    let Some(count) = count else { return };
    non_negative(rule, "succeededCount", path, errors);
    let field = path.child("succeededCount");
    let mut at_most = |limit: i64, what: &str| {
        if count > limit {
            let text = format!("must be less than or equal to {limit} ({what})");
            errors.push(FieldError::invalid(&field, count, &text));
        }
    };
    at_most(completions, "the number of specified completions");
    if text.is_some() {
        at_most(total, "the number of indexes in the specified succeededIndexes field");
    }
}

/// A set of indexes, as ranges.
#[derive(Debug)]
pub(super) struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    fn len(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The first index that is in both.
    pub(super) fn shared(one: &Self, two: &Self) -> Option<i64> {
        let shared = |a: &(i64, i64), b: &(i64, i64)| Some(a.0.max(b.0)).filter(|first| *first <= a.1.min(b.1));
        one.0.iter().find_map(|a| two.0.iter().find_map(|b| shared(a, b)))
    }
}

/// Reads indexes such as `1,3-5`: in order, and below `completions`.
pub(super) fn indexes(text: &str, completions: i64) -> Result<Indexes, String> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    let number = |text: &str| -> Result<i64, String> {
        let index = text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if index >= completions { Err(format!("too large index: {}", quote(text))) } else { Ok(index) }
    };
    let unordered =
        |previous: i64, current: i64| format!("non-increasing order, previous: {previous}, current: {current}");
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let ends: Vec<&str> = part.split('-').collect();
        let (first, last) = match ends.as_slice() {
            [one] => (number(one)?, number(one)?),
            [first, last] => (number(first)?, number(last)?),
            _ => {
                return Err(format!(
                    "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
                    quote(part)
                ));
            }
        };
        if ends.len() == 2 && first >= last {
            return Err(unordered(first, last));
        }
        if let Some((_, previous)) = ranges.last().filter(|(_, previous)| *previous >= first) {
            return Err(unordered(*previous, first));
        }
        ranges.push((first, last));
    }
    Ok(Indexes(ranges))
}

fn required_one_of(value: &str, supported: &[&str], path: &FieldPath<'_>, errors: &mut Errors) {
    if value.is_empty() {
        let list: Vec<String> = supported.iter().map(|value| quote(value)).collect();
        errors.push(FieldError::required(path, &format!("valid values: [{}]", list.join(" "))));
    } else {
        supported_value(value, supported, path, errors);
    }
}

fn too_many(count: usize, limit: usize, path: &FieldPath<'_>, errors: &mut Errors) {
    if count > limit {
        errors.push(FieldError::too_many(path, count, limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(spec: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        validate(spec, &FieldPath::Root.child("spec"), &mut errors);
        errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn failure_rules_are_checked() {
        let with = |rule: Value| json!({"podFailurePolicy": {"rules": [rule]}, "template": {"spec": {"containers": [{"name": "c"}]}}});
        let good =
            json!({"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1, 42]}});
        assert_eq!(refused(&with(good)), [""; 0]);
        let bad = json!({"action": "FailIndex", "onExitCodes": {"containerName": "d", "operator": "In", "values": [3, 0, 3]}});
        let rule = "spec.podFailurePolicy.rules[0]";
        let expected = [
            format!("{rule}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"),
            format!(
                "{rule}.onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template"
            ),
            format!("{rule}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator"),
            format!("{rule}.onExitCodes.values[2]: Duplicate value: 3"),
            format!("{rule}.onExitCodes.values: Invalid value: [3,0,3]: must be ordered"),
        ];
        assert_eq!(refused(&with(bad)), expected);
        let neither = refused(&with(json!({"action": "Count"})));
        assert_eq!(
            neither,
            [format!("{rule}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required")]
        );
    }

    #[test]
    fn success_rules_are_checked() {
        let with =
            |rule: Value| json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [rule]}});
        assert_eq!(refused(&with(json!({"succeededIndexes": "0,2-4", "succeededCount": 2}))), [""; 0]);
        let rule = "spec.successPolicy.rules[0]";
        let over = "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)";
        assert_eq!(
            refused(&with(json!({"succeededIndexes": "0,2", "succeededCount": 3}))),
            [format!("{rule}.succeededCount: Invalid value: 3: {over}")]
        );
        let rows = [
            ("4-1", "non-increasing order, previous: 4, current: 1"),
            ("1,1", "non-increasing order, previous: 1, current: 1"),
            ("9", "too large index: \"9\""),
            ("x", "cannot convert string to integer for index: \"x\""),
        ];
        for (text, why) in rows {
            assert_eq!(indexes(text, 5).unwrap_err(), why);
        }
    }
}
