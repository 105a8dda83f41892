//! The history of a StatefulSet or DaemonSet: each of its Pod templates is a ControllerRevision, numbered.
//!
//! The template that the workload has now is the revision with the highest number. One that comes back (a rollback) keeps its revision, which
//! gets a new number. A revision holds a patch that puts the template back, as `kubectl rollout undo` and `history` expect it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base_controller::{Change, Object};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use serde_json::{Value, json};

use super::{names, owners};

/// The label by which Pods of a workload's templates are told apart.
pub(crate) const REVISION_HASH: &str = "controller-revision-hash";

/// The revisions of one workload, lowest number first.
#[derive(Clone, Debug)]
pub(crate) struct History(Vec<Arc<ControllerRevision>>);

/// What the workload's template is in its history.
#[derive(Clone, Debug)]
enum Present {
    /// The newest revision.
    Newest(Arc<ControllerRevision>),
    /// An earlier revision, and the change that makes it the newest.
    Earlier(Arc<ControllerRevision>, Box<Change>),
    /// It has no revision; this will be its number.
    Unknown(i64),
}

impl History {
    pub(crate) fn new(mut revisions: Vec<Arc<ControllerRevision>>) -> Self {
        revisions.sort_by(|a, b| order(a).cmp(&order(b)));
        Self(revisions)
    }

    /// The revision of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.0.iter().find(|revision| revision.metadata.name.as_deref() == Some(name))
    }

    /// The revision of `owner`'s template, and what has to be written for it. None if it has none yet and another object has its name
    /// (`is_taken`): the next count of collisions makes another.
    pub(crate) fn record<K>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        (collisions, is_taken): (Option<i32>, bool),
        hash_label: &str,
    ) -> Option<(Arc<ControllerRevision>, Option<Change>)>
    where
        K: Object + Resource<DynamicType = ()>,
    {
        match self.present(template) {
            Present::Newest(revision) => Some((revision, None)),
            Present::Earlier(revision, renumbered) => Some((revision, Some(*renumbered))),
            Present::Unknown(_) if is_taken => None,
            Present::Unknown(number) => {
                let made = make(owner, template, (number, collisions), hash_label);
                let recorded = Change::create(&made);
                Some((Arc::new(made), Some(recorded)))
            }
        }
    }

    /// Where the template stands.
    fn present(&self, template: &PodTemplateSpec) -> Present {
        let next = self.0.last().map(|newest| number(newest)).unwrap_or_default() + 1;
        let same = self.0.iter().rposition(|revision| template_of(revision).as_ref() == Some(template));
        let Some((at, revision)) = same.and_then(|at| Some((at, self.0.get(at)?))) else {
            return Present::Unknown(next);
        };
        if at + 1 == self.0.len() {
            return Present::Newest(Arc::clone(revision));
        }
        let renumbered = Change::overlay_fields(&**revision, json!({ "revision": next }));
        Present::Earlier(Arc::clone(revision), Box::new(renumbered))
    }

    /// Deletes what is beyond `limit` (negative: nothing) of the revisions that count, the lowest numbers first; none that is in use.
    pub(crate) fn forget(
        &self,
        limit: Option<i32>,
        counts: impl Fn(&ControllerRevision) -> bool,
        is_in_use: impl Fn(&ControllerRevision) -> bool,
    ) -> Vec<Change> {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
        let counted: Vec<_> = self.0.iter().filter(|revision| counts(revision)).collect();
        let too_many = counted.len().saturating_sub(limit);
        let unused = counted.into_iter().filter(|revision| !is_in_use(revision));
        unused.take(too_many).map(|revision| Change::delete(&**revision)).collect()
    }
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or_default()
}

fn order(revision: &ControllerRevision) -> (i64, Option<base_rt::Timestamp>, Option<&str>) {
    let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (number(revision), created, revision.metadata.name.as_deref())
}

/// The name of the revision of a template.
pub(crate) fn name(owner: &str, template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    names::child(owner, &names::template_hash(template, collisions))
}

/// The revision of `owner`'s template. Its labels are the template's, and its hash by the name `hash_label`.
fn make<K>(
    owner: &K,
    template: &PodTemplateSpec,
    (number, collisions): (i64, Option<i32>),
    hash_label: &str,
) -> ControllerRevision
where
    K: Object + Resource<DynamicType = ()>,
{
    let meta = owner.meta();
    let mut labels = template.metadata.as_ref().and_then(|of_template| of_template.labels.clone()).unwrap_or_default();
    labels.insert(hash_label.to_owned(), names::template_hash(template, collisions));
    let metadata = ObjectMeta {
        name: Some(name(meta.name.as_deref().unwrap_or_default(), template, collisions)),
        namespace: meta.namespace.clone(),
        labels: Some(labels),
        annotations: meta.annotations.clone(),
        owner_references: Some(vec![owners::controller_reference(owner)]),
        ..ObjectMeta::default()
    };
    ControllerRevision { metadata, revision: Some(number), data: RawExtension(patch(template)) }
}

/// The strategic merge patch that puts a template back.
fn patch(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision holds, if it holds one.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.0.get("spec")?.get("template")?.clone();
    serde_json::from_value(template).ok()
}

/// What an object's label says; nothing if it has none.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, name: &str) -> &'a str {
    let labels: Option<&BTreeMap<String, String>> = meta.labels.as_ref();
    labels.and_then(|labels| labels.get(name)).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSet;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .unwrap()
    }

    fn revision(image: &str, number: i64) -> Arc<ControllerRevision> {
        let set = StatefulSet {
            metadata: ObjectMeta { name: Some("web".into()), ..ObjectMeta::default() },
            ..StatefulSet::default()
        };
        Arc::new(make(&set, &template(image), (number, None), "hash"))
    }

    #[test]
    fn a_template_that_comes_back_keeps_its_revision() {
        let history = History::new(vec![revision("b", 2), revision("a", 1)]);
        assert!(matches!(history.present(&template("b")), Present::Newest(newest) if newest.revision == Some(2)));
        assert!(matches!(history.present(&template("c")), Present::Unknown(3)));
        let Present::Earlier(earlier, change) = history.present(&template("a")) else { panic!("it was there") };
        assert_eq!(earlier.revision, Some(1));
        assert_eq!(json!(*change)["fields"], json!({"revision": 3}));
    }

    #[test]
    fn only_so_many_unused_revisions_are_kept() {
        let history = History::new(vec![revision("a", 1), revision("b", 2), revision("c", 3)]);
        let is_first = |revision: &ControllerRevision| revision.revision == Some(1);
        let of_others = |limit| history.forget(Some(limit), |revision| !is_first(revision), is_first).len();
        assert_eq!([of_others(-1), of_others(0), of_others(1), of_others(2)], [0, 2, 1, 0]);
        let of_all = |limit| history.forget(Some(limit), |_| true, is_first).len();
        assert_eq!([of_all(0), of_all(1), of_all(2), of_all(3)], [2, 2, 1, 0]);
    }

    #[test]
    fn a_revision_holds_its_template_as_a_patch() {
        let revision = revision("a", 1);
        assert_eq!(revision.data.0["spec"]["template"]["$patch"], "replace");
        assert_eq!(template_of(&revision), Some(template("a")));
        assert_eq!(label(&revision.metadata, "app"), "a");
        assert!(revision.metadata.name.as_deref().unwrap().ends_with(label(&revision.metadata, "hash")));
    }
}
