//! Kinds in groups of the Kubernetes community, which say who approved them.

use serde_json::Value;

use crate::crd::Condition;
use crate::field_error::{FieldError, quote};
use crate::status::top;
use crate::value::str_at;

/// Says who approved a kind in a group of the Kubernetes community.
const APPROVED: &str = "api-approved.kubernetes.io";

/// Checks that such a kind says who approved it, unless it already stood there as it does now.
pub(crate) fn approval(crd: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let approval = Approval::of(crd);
    if !is_protected(crd) || old.is_some_and(|old| Approval::of(old) == approval) {
        return;
    }
    let metadata = top("metadata");
    let annotations = metadata.child("annotations");
    let (field, why) = (annotations.key(APPROVED), approval.text(crd));
    match approval {
        Approval::Given | Approval::Bypassed => {}
        Approval::Missing => errors.push(FieldError::required(&field, &why)),
        Approval::Malformed => errors.push(FieldError::invalid(&field, annotation(crd), &why)),
    }
}

/// What the status says about it; nothing about other groups.
pub(crate) fn condition(crd: &Value) -> Option<Condition> {
    let approval = Approval::of(crd);
    let (status, reason) = match approval {
        Approval::Given => ("True", "ApprovedAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Malformed => ("False", "InvalidAnnotation"),
    };
    let kind = "KubernetesAPIApprovalPolicyConformant";
    is_protected(crd).then(|| Condition { kind, status, reason, message: approval.text(crd) })
}

fn is_protected(crd: &Value) -> bool {
    let group = str_at(crd, &["spec", "group"]);
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.')))
}

fn annotation(crd: &Value) -> &str {
    str_at(crd, &["metadata", "annotations", APPROVED])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    /// By a URL.
    Given,
    /// Openly not.
    Bypassed,
    Missing,
    Malformed,
}

impl Approval {
    fn of(crd: &Value) -> Self {
        let text = annotation(crd);
        let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.is_empty() && !text.contains(' ')
        });
        match text {
            "" => Self::Missing,
            _ if text.starts_with("unapproved") => Self::Bypassed,
            _ if is_url => Self::Given,
            _ => Self::Malformed,
        }
    }

    fn text(self, crd: &Value) -> String {
        let see = "see https://github.com/kubernetes/enhancements/pull/1111";
        let must = format!("protected groups must have approval annotation \"{APPROVED}\"");
        match self {
            Self::Given => format!("approved in {}", annotation(crd)),
            Self::Bypassed => format!("not approved: {}", quote(annotation(crd))),
            Self::Missing => format!("{must}, {see}"),
            Self::Malformed => format!("{must} with either a URL or a reason starting with \"unapproved\", {see}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_community_s_groups_need_an_approval() {
        let crd = |group: &str, approval: &str| json!({"metadata": {"annotations": {APPROVED: approval}}, "spec": {"group": group}});
        let found = |new: &Value, old: Option<&Value>| {
            let mut errors = Vec::new();
            approval(new, old, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(
            found(&crd("apps.k8s.io", ""), None),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \
             \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        assert!(found(&crd("k8s.io", "yes"), None).contains("with either a URL or a reason"));
        let fine =
            [("k8s.io", "https://a.b/c"), ("x.kubernetes.io", "unapproved, a test"), ("myk8s.io", ""), ("g.io", "")];
        for (group, approval) in fine {
            assert_eq!(found(&crd(group, approval), None), "", "{group} {approval}");
        }
        assert_eq!(found(&crd("k8s.io", ""), Some(&crd("k8s.io", ""))), "", "it stood there before");
        assert_ne!(found(&crd("k8s.io", ""), Some(&crd("k8s.io", "https://a.b/c"))), "");
    }
}
