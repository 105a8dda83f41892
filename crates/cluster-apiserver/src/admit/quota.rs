//! What a namespace's ResourceQuotas leave to take.
//!
//! What is used follows from the stored objects alone, so nothing has to be kept beside them and nothing is lost in a restart. Whoever writes an
//! object that counts reserves what it takes until the write is done, so that two cannot both take the last one. Writers of one namespace are
//! counted one after the other, and hold up no other namespace. `status` of a quota is a controller's report and not looked at.
//!
//! Specified by apiserver's plug-in `resourcequota`; what objects count for says [`base_quota`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_quota::amounts::Amounts;
use base_quota::quantity::Quantity;
use base_quota::scope::{is_terminating, takes};
use base_quota::usage::{Counted, unstated};
use base_rt::{Clock, Timestamp};
use serde_json::Value;

use super::lookup::StoreLookup;
use crate::kinds::Lookup as _;
use crate::status::Result;
use crate::store::{ObjectKey, Store, TableName};
use crate::value::{at, str_at};
use crate::writes::Context;

/// So many namespaces are counted at once, at most.
const TURNS: usize = 64;

/// Counts what quotas are about.
pub(crate) struct Quotas {
    store: Store,
    clock: Clock,
    /// Whoever counts a namespace has the lock that its name falls on.
    turns: [tokio::sync::Mutex<()>; TURNS],
    reserved: Arc<Mutex<Reserved>>,
}

/// The objects that are about to be stored, in the order in which they were let through. As many as there are writes under way.
#[derive(Debug, Default)]
struct Reserved {
    last: u64,
    objects: BTreeMap<u64, (TableName, ObjectKey, Arc<Value>)>,
}

/// Keeps others from taking the same until a write is done.
#[derive(Debug, Default)]
pub(crate) struct Reservation(Option<(Arc<Mutex<Reserved>>, u64)>);

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((reserved, number)) = self.0.take() {
            lock(&reserved).objects.remove(&number);
        }
    }
}

fn lock(reserved: &Mutex<Reserved>) -> MutexGuard<'_, Reserved> {
    reserved.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quotas {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, turns: std::array::from_fn(|_| tokio::sync::Mutex::default()), reserved: Arc::default() }
    }

    /// Takes what the object counts for; a dry run only looks whether it could.
    ///
    /// # Errors
    /// 403 if a quota does not have it, or cannot tell.
    pub(crate) async fn take(&self, context: &Context<'_>, object: &Value, old: Option<&Value>) -> Result<Reservation> {
        if !is_counted(context, object, old) {
            return Ok(Reservation::default());
        }
        let quotas = StoreLookup(&self.store).list("", "resourcequotas", context.namespace);
        if quotas.is_empty() {
            return Ok(Reservation::default());
        }
        let resource = context.resource;
        let name = str_at(object, &["metadata", "name"]);
        let counted = Counted { group: &resource.group, plural: &resource.plural };
        let asking = Asking { counted, object, old, now: self.clock.now() };
        let concerned: Vec<&Value> = quotas.iter().map(Arc::as_ref).filter(|quota| asking.concerns(quota)).collect();
        asking.check_stated(&concerned).map_err(|why| resource.forbidden(name, &why))?;
        let _turn = self.turn(context.namespace).await;
        let present = self.present(context, &concerned);
        for quota in concerned {
            asking.check(quota, &present).map_err(|why| resource.forbidden(name, &why))?;
        }
        if context.is_dry_run {
            return Ok(Reservation::default());
        }
        let mut reserved = lock(&self.reserved);
        reserved.last += 1;
        let number = reserved.last;
        reserved.objects.insert(number, (resource.table.clone(), context.key(name), Arc::new(object.clone())));
        Ok(Reservation(Some((Arc::clone(&self.reserved), number))))
    }

    async fn turn(&self, namespace: &str) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % TURNS as u64).ok()?;
        Some(self.turns.get(index)?.lock().await)
    }

    /// The stored objects of the resource and those that are about to be, by key.
    fn present(&self, context: &Context<'_>, concerned: &[&Value]) -> Present {
        let mut present = Present::new();
        if concerned.is_empty() {
            return present;
        }
        let table = &context.resource.table;
        // First those that are about to be stored: who is stored meanwhile is seen twice, not missed.
        let is_here = |of: &TableName, key: &ObjectKey| of == table && key.namespace() == context.namespace;
        for (of, key, object) in lock(&self.reserved).objects.values() {
            if is_here(of, key) {
                present.entry(key.clone()).or_default().push(Arc::clone(object));
            }
        }
        for stored in self.store.list(table, &format!("{}/", context.namespace)).objects {
            // What cannot be read counts as one.
            let object = serde_json::from_slice(&stored.body).unwrap_or_default();
            present.entry(stored.key.clone()).or_default().push(Arc::new(object));
        }
        present
    }
}

/// Objects by key: of each, every state that it is in or may soon be.
type Present = BTreeMap<ObjectKey, Vec<Arc<Value>>>;

/// Whether the write may change what anything counts for.
fn is_counted(context: &Context<'_>, object: &Value, old: Option<&Value>) -> bool {
    let resource = context.resource;
    let is = |counted: Counted<'_>| resource.is(counted.group, counted.plural);
    if !resource.is_namespaced || resource.plural == "events" {
        return false;
    }
    match (context.subresource, old) {
        ("", None) => true,
        ("", Some(old)) if is(Counted::PODS) => is_terminating(old) != is_terminating(object),
        ("", Some(_)) => is(Counted::SERVICES) || is(Counted::CLAIMS),
        ("resize", Some(_)) => is(Counted::PODS),
        _ => false,
    }
}

/// A write that wants something.
struct Asking<'a> {
    counted: Counted<'a>,
    object: &'a Value,
    old: Option<&'a Value>,
    now: Timestamp,
}

impl Asking<'_> {
    /// Whether the quota is about the object.
    fn concerns(&self, quota: &Value) -> bool {
        hard(quota).names().any(|name| self.counted.is_for(name)) && takes(quota, self.counted, self.object)
    }

    /// Whether the object says all that the quotas have to know.
    fn check_stated(&self, quotas: &[&Value]) -> std::result::Result<(), String> {
        if self.counted != Counted::PODS {
            return Ok(());
        }
        for quota in quotas {
            let missing = unstated(self.object, hard(quota).names());
            if !missing.is_empty() {
                return Err(format!("failed quota: {}: must specify {missing}", str_at(quota, &["metadata", "name"])));
            }
        }
        Ok(())
    }

    /// Whether the quota still has what is wanted.
    fn check(&self, quota: &Value, present: &Present) -> std::result::Result<(), String> {
        let hard = hard(quota).only(|name| self.counted.is_for(name));
        let is_limited = |name: &str| hard.get(name).is_some();
        let of = |object: &Value| self.counted.usage(object, self.now).only(is_limited);
        let before = self.old.filter(|old| takes(quota, self.counted, old)).map(of).unwrap_or_default();
        let requested = of(self.object).excess_over(&before);
        if requested.is_empty() {
            return Ok(());
        }
        let mut used: Amounts = hard.names().map(|name| (name.to_owned(), Quantity::from_units(0))).collect();
        for states in present.values() {
            let mut most = Amounts::default();
            let counting = states.iter().filter(|state| takes(quota, self.counted, state));
            counting.for_each(|state| most.raise_to(&of(state)));
            used.add(&most);
        }
        let mut after = used.clone();
        after.add(&requested);
        let is_exceeded = |name: &str| requested.get(name).is_some() && after.get(name) > hard.get(name);
        let [requested, used, limited] = [&requested, &used, &hard].map(|amounts| amounts.only(is_exceeded));
        if requested.is_empty() {
            return Ok(());
        }
        let name = str_at(quota, &["metadata", "name"]);
        Err(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"))
    }
}

fn hard(quota: &Value) -> Amounts {
    at(quota, &["spec", "hard"]).map(Amounts::of).unwrap_or_default()
}
