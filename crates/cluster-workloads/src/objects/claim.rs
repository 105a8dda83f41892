//! Whether a controller may count an object among its own: adoption and release by selector and controller reference.
//!
//! | controller reference | selector takes it | claim |
//! |---|---|---|
//! | to me | yes | mine (also while I am being deleted) |
//! | to me | no | release it, unless I am being deleted |
//! | to another | – | not mine |
//! | none | yes | adopt it, unless either of us is being deleted |
//! | none | no | not mine |

use std::sync::Arc;

use base_controller::{Change, Delta, Informer, Key, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::json;

use super::labels::Matcher;
use super::owners;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Mine,
    Adopt,
    Release,
    Other,
}

fn claim(owner: &ObjectMeta, selector: &Matcher, object: &ObjectMeta) -> Claim {
    let is_ending = owner.deletion_timestamp.is_some();
    let is_taken = selector.takes(object);
    match owners::controller_uid(object) {
        Some(uid) if owner.uid.as_deref() != Some(uid) => Claim::Other,
        Some(_) if is_taken => Claim::Mine,
        Some(_) if is_ending => Claim::Other,
        Some(_) => Claim::Release,
        None if !is_taken || is_ending || object.deletion_timestamp.is_some() => Claim::Other,
        None => Claim::Adopt,
    }
}

/// Finds the owners whose selectors take an object that nobody controls: they may adopt it.
pub(crate) fn takers<O: Object, K: Object>(
    owners: &Informer<O>,
    selector: fn(&O) -> Matcher,
) -> impl Fn(&Delta<'_, K>) -> Vec<Key> + Send + Sync + 'static {
    let owners = owners.clone();
    move |delta| {
        let orphan = delta.new.map(|object| object.meta()).filter(|meta| owners::controller_of(meta).is_none());
        let Some(orphan) = orphan else { return Vec::new() };
        let here = owners.list_in(orphan.namespace.as_deref().unwrap_or_default());
        here.iter().filter(|owner| selector(owner).takes(orphan)).map(|owner| Key::of(&**owner)).collect()
    }
}

/// The objects that belong to an owner, and what has to change so that they do.
#[derive(Debug)]
pub(crate) struct Claimed<K> {
    /// Owned, or to be adopted.
    pub(crate) objects: Vec<Arc<K>>,
    /// Adoptions and releases.
    pub(crate) changes: Vec<Change>,
}

/// Judges `candidates` (what the owner controls, and what nobody does) as `owner`, whose selector is `selector`.
pub(crate) fn all<O, K>(owner: &O, selector: &Matcher, candidates: &[Arc<K>]) -> Claimed<K>
where
    O: Object + Resource<DynamicType = ()>,
    K: Object + Resource<DynamicType = ()>,
{
    claimed(owner, selector, candidates, None)
}

/// As [`all`], for an owner that holds its objects by a finalizer: it comes with an adoption and goes with a release.
pub(crate) fn all_held<O, K>(owner: &O, selector: &Matcher, candidates: &[Arc<K>], finalizer: &str) -> Claimed<K>
where
    O: Object + Resource<DynamicType = ()>,
    K: Object + Resource<DynamicType = ()>,
{
    claimed(owner, selector, candidates, Some(finalizer))
}

fn claimed<O, K>(owner: &O, selector: &Matcher, candidates: &[Arc<K>], finalizer: Option<&str>) -> Claimed<K>
where
    O: Object + Resource<DynamicType = ()>,
    K: Object + Resource<DynamicType = ()>,
{
    let mut claimed = Claimed { objects: Vec::new(), changes: Vec::new() };
    for object in candidates {
        match claim(owner.meta(), selector, object.meta()) {
            Claim::Other => {}
            Claim::Mine => claimed.objects.push(Arc::clone(object)),
            Claim::Adopt => {
                claimed.objects.push(Arc::clone(object));
                claimed.changes.push(adopt(owner, &**object, finalizer));
            }
            Claim::Release => claimed.changes.push(release(owner.meta(), &**object, finalizer)),
        }
    }
    claimed
}

fn adopt<O, K>(owner: &O, object: &K, finalizer: Option<&str>) -> Change
where
    O: Object + Resource<DynamicType = ()>,
    K: Object + Resource<DynamicType = ()>,
{
    let mut references: Vec<OwnerReference> = object.meta().owner_references.clone().unwrap_or_default();
    references.push(owners::controller_reference(owner));
    change(
        object,
        &references,
        finalizer.map(|finalizer| without(object.meta(), finalizer).chain([finalizer]).collect()),
    )
}

fn release<K>(owner: &ObjectMeta, object: &K, finalizer: Option<&str>) -> Change
where
    K: Object + Resource<DynamicType = ()>,
{
    let references = object.meta().owner_references.iter().flatten();
    let others: Vec<_> = references.filter(|reference| owner.uid.as_deref() != Some(&reference.uid)).cloned().collect();
    change(object, &others, finalizer.map(|finalizer| without(object.meta(), finalizer).collect()))
}

fn without<'a>(meta: &'a ObjectMeta, finalizer: &'a str) -> impl Iterator<Item = &'a str> {
    meta.finalizers.iter().flatten().map(String::as_str).filter(move |other| *other != finalizer)
}

fn change<K>(object: &K, references: &[OwnerReference], finalizers: Option<Vec<&str>>) -> Change
where
    K: Object + Resource<DynamicType = ()>,
{
    let mut metadata = json!({ "ownerReferences": references });
    if let Some(finalizers) = finalizers {
        metadata["finalizers"] = json!(finalizers);
    }
    Change::overlay_fields(object, json!({ "metadata": metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};

    fn owner(is_ending: bool) -> ObjectMeta {
        let deletion_timestamp = is_ending.then_some(Time(jiff::Timestamp::UNIX_EPOCH));
        ObjectMeta { uid: Some("me".into()), deletion_timestamp, ..ObjectMeta::default() }
    }

    fn object(app: &str, controller: Option<&str>) -> ObjectMeta {
        let reference =
            |uid: &str| OwnerReference { uid: uid.into(), controller: Some(true), ..OwnerReference::default() };
        ObjectMeta {
            labels: Some([("app".to_owned(), app.to_owned())].into()),
            owner_references: controller.map(|uid| vec![reference(uid)]),
            ..ObjectMeta::default()
        }
    }

    fn selector() -> Matcher {
        Matcher::new(&LabelSelector {
            match_labels: Some([("app".to_owned(), "a".to_owned())].into()),
            ..LabelSelector::default()
        })
    }

    #[test]
    fn the_table_of_claims() {
        let rows = [
            (false, object("a", Some("me")), Claim::Mine),
            (true, object("a", Some("me")), Claim::Mine),
            (false, object("b", Some("me")), Claim::Release),
            (true, object("b", Some("me")), Claim::Other),
            (false, object("a", Some("another")), Claim::Other),
            (false, object("a", None), Claim::Adopt),
            (true, object("a", None), Claim::Other),
            (false, object("b", None), Claim::Other),
        ];
        for (is_ending, object, expected) in rows {
            assert_eq!(claim(&owner(is_ending), &selector(), &object), expected, "{is_ending} {object:?}");
        }
        let mut ending = object("a", None);
        ending.deletion_timestamp = owner(true).deletion_timestamp;
        assert_eq!(claim(&owner(false), &selector(), &ending), Claim::Other);
    }

    #[test]
    fn an_adoption_keeps_other_owners_and_a_release_removes_only_mine() {
        let mut set = ReplicaSet { metadata: owner(false), ..ReplicaSet::default() };
        set.metadata.name = Some("rs".into());
        let mut orphan = Pod { metadata: object("a", None), ..Pod::default() };
        orphan.metadata.owner_references = Some(vec![OwnerReference { uid: "other".into(), ..Default::default() }]);
        let stray = Pod { metadata: object("b", Some("me")), ..Pod::default() };
        let claimed = all(&set, &selector(), &[Arc::new(orphan), Arc::new(stray)]);
        assert_eq!(claimed.objects.len(), 1);
        let changes = serde_json::to_value(&claimed.changes).unwrap();
        let references = &changes[0]["fields"]["metadata"]["ownerReferences"];
        assert_eq!((&references[0]["uid"], &references[1]["uid"]), (&json!("other"), &json!("me")));
        assert_eq!(references[1]["kind"], "ReplicaSet");
        assert_eq!(changes[1]["fields"]["metadata"]["ownerReferences"], json!([]));
    }
}
