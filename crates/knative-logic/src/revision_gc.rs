//! Which revisions of a Configuration can go.
//!
//! Never the one that is ready last, never one that a Route leads to or may come to lead to, never
//! one that somebody wants to keep. Of the others some always stay, and among the rest go those
//! that are old and long unused, and whatever is more than the maximum.

use jiff::{SignedDuration, Timestamp};
use knative_apis::config::Gc;
use knative_apis::meta::{annotation, annotation_value};
use knative_apis::serving::v1::{Revision, RoutingState};

/// What is known of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionFact {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When a Route last led to it; when it was made, if none ever did.
    pub last_active: Timestamp,
    /// Whether it must stay.
    pub is_kept: bool,
}

impl RevisionFact {
    /// What a revision says of itself, and that the latest ready one stays.
    pub fn new(revision: &Revision, latest_ready: &str) -> Self {
        let meta = &revision.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let created = meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let preserved =
            annotation_value(meta, annotation::NO_GC).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self {
            is_kept: name == latest_ready || preserved || revision.routing_state() != RoutingState::Reserve,
            last_active: revision.routing_state_modified().unwrap_or(created),
            created,
            name,
        }
    }
}

/// The names of the revisions that go, the longest unused first.
pub fn stale(revisions: &[RevisionFact], config: &Gc, now: Timestamp) -> Vec<String> {
    let min = usize::try_from(config.min_non_active_revisions).unwrap_or(0);
    let mut candidates: Vec<&RevisionFact> = revisions.iter().filter(|revision| !revision.is_kept).collect();
    if revisions.len() <= min || candidates.len() <= min {
        return Vec::new();
    }
    candidates.sort_by_key(|revision| (revision.last_active, &revision.name));
    let most = candidates.len() - min;
    let (old, young): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|revision| is_stale(revision, config, now));
    let mut gone: Vec<String> = old.iter().take(most).map(|revision| revision.name.clone()).collect();
    if gone.len() == most {
        return gone;
    }
    let max = config.max_non_active_revisions.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let too_many = young.len().saturating_sub(max);
    gone.extend(young.iter().take(too_many).map(|revision| revision.name.clone()));
    gone
}

fn is_stale(revision: &RevisionFact, config: &Gc, now: Timestamp) -> bool {
    let is_over =
        |since: Timestamp, bound: Option<SignedDuration>| bound.is_none_or(|b| now.duration_since(since) >= b);
    let has_bound = config.retain_since_create_time.is_some() || config.retain_since_last_active_time.is_some();
    has_bound
        && is_over(revision.created, config.retain_since_create_time)
        && is_over(revision.last_active, config.retain_since_last_active_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn hours(hours: i64) -> SignedDuration {
        SignedDuration::from_hours(hours)
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a time")
    }

    /// A revision that was made and last used so many hours ago.
    fn fact(name: &str, created: i64, active: i64) -> RevisionFact {
        RevisionFact {
            name: name.to_owned(),
            created: now() - hours(created),
            last_active: now() - hours(active),
            is_kept: false,
        }
    }

    fn config(min: i64, max: Option<i64>) -> Gc {
        Gc { min_non_active_revisions: min, max_non_active_revisions: max, ..Gc::default() }
    }

    #[test]
    fn what_is_old_and_unused_goes() {
        let revisions = [fact("young", 47, 47), fact("used", 50, 10), fact("old", 50, 16), fact("older", 50, 20)];
        assert_eq!(stale(&revisions, &config(0, None), now()), ["older", "old"]);
        assert_eq!(stale(&revisions, &config(3, None), now()), ["older"]);
        assert!(stale(&revisions, &config(4, None), now()).is_empty());
    }

    #[test]
    fn what_is_too_much_goes_whatever_its_age() {
        let revisions = [fact("a", 1, 1), fact("b", 2, 2), fact("c", 3, 3), fact("old", 60, 60)];
        assert_eq!(stale(&revisions, &config(0, Some(1)), now()), ["old", "c", "b"]);
        assert_eq!(stale(&revisions, &config(1, Some(1)), now()), ["old", "c", "b"]);
        let at_once = Gc {
            retain_since_create_time: None,
            retain_since_last_active_time: None,
            min_non_active_revisions: 0,
            max_non_active_revisions: Some(0),
        };
        assert_eq!(stale(&revisions, &at_once, now()).len(), 4);
        let never = Gc { max_non_active_revisions: None, ..at_once };
        assert!(stale(&revisions, &never, now()).is_empty());
    }

    #[test]
    fn a_revision_says_whether_it_stays() {
        let revision = |state: &str, annotations: serde_json::Value| -> Revision {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "hello-1", "creationTimestamp": "2023-11-14T00:00:00Z",
                    "labels": {"serving.knative.dev/routingState": state}, "annotations": annotations,
                },
            }))
            .expect("a Revision")
        };
        let kept = |revision: &Revision, latest: &str| RevisionFact::new(revision, latest).is_kept;
        assert!(!kept(&revision("reserve", json!({})), "hello-2"));
        assert!(kept(&revision("reserve", json!({})), "hello-1"));
        assert!(kept(&revision("reserve", json!({"serving.knative.dev/no-gc": "True"})), ""));
        assert!(
            kept(&revision("pending", json!({})), "")
                && kept(&revision("active", json!({})), "")
                && kept(&revision("", json!({})), "")
        );
        let used = revision("reserve", json!({"serving.knative.dev/routingStateModified": "2023-11-14T05:00:00Z"}));
        let fact = RevisionFact::new(&used, "");
        assert_eq!(fact.last_active.duration_since(fact.created), hours(5));
    }

    fn any_facts() -> impl Strategy<Value = Vec<RevisionFact>> {
        let one = (0..100i64, 0..100i64, any::<bool>());
        proptest::collection::vec(one, 0..60).prop_map(|all| {
            let number = |(place, (created, active, is_kept)): (usize, (i64, i64, bool))| RevisionFact {
                is_kept,
                ..fact(&format!("r{place}"), created.max(active), active)
            };
            all.into_iter().enumerate().map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_never_goes_and_the_least_stays(
            facts in any_facts(), min in 0..30i64, more in proptest::option::of(0..30i64), bounds in any::<(bool, bool)>(),
        ) {
            let config = Gc {
                retain_since_create_time: bounds.0.then(|| hours(40)),
                retain_since_last_active_time: bounds.1.then(|| hours(20)),
                min_non_active_revisions: min,
                max_non_active_revisions: more.map(|more| min + more),
            };
            let gone = stale(&facts, &config, now());
            let others = facts.iter().filter(|fact| !fact.is_kept).count();
            for name in &gone {
                let fact = facts.iter().find(|fact| fact.name == *name).expect("a revision");
                prop_assert!(!fact.is_kept);
            }
            let left = others - gone.len();
            let min = usize::try_from(min).expect("a count");
            prop_assert!(left >= min.min(others));
            if let Some(max) = config.max_non_active_revisions {
                prop_assert!(left <= usize::try_from(max).expect("a count").max(min) );
            }
        }
    }
}
