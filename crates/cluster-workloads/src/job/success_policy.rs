//! When an indexed Job has succeeded before all of its indexes have: the rules of `spec.successPolicy`.

use k8s_openapi::api::batch::v1::{JobSpec, SuccessPolicyRule};

use super::indexes::Indexes;

/// What says that the Job has succeeded, if a rule does.
pub(super) fn matched(spec: &JobSpec, succeeded: &Indexes) -> Option<String> {
    let rules = &spec.success_policy.as_ref().filter(|_| !succeeded.is_empty())?.rules;
    let completions = spec.completions.unwrap_or_default();
    let at = rules.iter().position(|rule| is_met(rule, completions, succeeded))?;
    Some(format!("Matched rules at index {at}"))
}

fn is_met(rule: &SuccessPolicyRule, completions: i32, succeeded: &Indexes) -> bool {
    let is_enough = |count: i32| rule.succeeded_count.is_some_and(|enough| count >= enough);
    match &rule.succeeded_indexes {
        None => is_enough(succeeded.len()),
        Some(text) => {
            let required = Indexes::parse(text, completions);
            let count = required.shared_with(succeeded);
            !required.is_empty() && (count == required.len() || is_enough(count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_asks_for_indexes_or_a_number_of_them() {
        let spec: JobSpec = serde_json::from_value(json!({
            "completions": 10, "template": {},
            "successPolicy": {"rules": [
                {"succeededIndexes": "0-2"}, {"succeededIndexes": "5-9", "succeededCount": 2}, {"succeededCount": 6},
            ]},
        }))
        .unwrap();
        let rows = [
            ("", None),
            ("0,1", None),
            ("0-2", Some("Matched rules at index 0")),
            ("4,6,9", Some("Matched rules at index 1")),
            ("0,1,3,4,5", None),
        ];
        for (succeeded, expected) in rows {
            assert_eq!(matched(&spec, &Indexes::parse(succeeded, 10)).as_deref(), expected, "{succeeded}");
        }
        let six: JobSpec = serde_json::from_value(json!({
            "completions": 10, "template": {}, "successPolicy": {"rules": [{"succeededCount": 2}]},
        }))
        .unwrap();
        assert!(matched(&six, &Indexes::parse("3,9", 10)).is_some());
    }
}
