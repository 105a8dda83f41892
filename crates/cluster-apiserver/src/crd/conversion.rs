//! Objects from one version of their resource to another; for custom ones whose CRD says so, by a webhook.
//!
//! ```text
//! written in v1 ─► to_store ─► webhook ─► kept in the storage version ─► shown ─► webhook ─► read in v1, v2
//! ```
//! Everything is kept in the version that the CRD says to store, pruned and defaulted by its schema; what was kept before a CRD changed is told by
//! its shape. Another version shows of that what its own schema knows, and adds no defaults. Without a webhook nothing else is done. Nobody is
//! called for an object that has the right version already. An answer may change labels and annotations, no other metadata.

mod review;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::custom::{TAG_MASK, tag_of};
use crate::admit::webhook::client_config;
use crate::core::Core;
use crate::hooks::{Call, ClientConfig, ReviewVersion};
use crate::metrics::ConversionLabels;
use crate::registry::{Behaviour, Catalogue, Resource};
use crate::status::{Result, StatusError};
use crate::store::{Labels, Stored};
use crate::value::{as_object, bool_at, list_at, str_at, strings_at};

/// How long a conversion may take, as in Kubernetes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many objects go out in one review,
const MAX_OBJECTS: usize = 500;
/// and so many bytes of them, beyond the first.
const MAX_REVIEW_BYTES: usize = 4 << 20;
/// An answer may have so many bytes: some more than what went out, and the largest object.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How the objects of a CRD go from one of its versions to another.
#[derive(Debug)]
pub(crate) struct Conversion {
    group: String,
    /// The version that is kept.
    storage: String,
    /// All versions by what shapes tell of them.
    versions: Vec<(u64, String)>,
    /// Who converts; without it the fields stay, as far as schemas know them.
    webhook: Option<Webhook>,
}

/// The webhook that converts the objects of a CRD.
#[derive(Debug)]
struct Webhook {
    crd: String,
    client: Option<ClientConfig>,
    review: Option<ReviewVersion>,
}

impl Conversion {
    /// The conversion of a CRD that has several versions.
    pub(crate) fn of(crd: &Value) -> Option<Self> {
        let versions = list_at(crd, &["spec", "versions"]);
        if versions.len() < 2 {
            return None;
        }
        let name = |version: &Value| str_at(version, &["name"]).to_owned();
        let storage = versions.iter().find(|version| bool_at(version, &["storage"]) == Some(true)).map(name)?;
        Some(Self {
            group: str_at(crd, &["spec", "group"]).to_owned(),
            storage,
            versions: versions.iter().map(name).map(|name| (tag_of(&name), name)).collect(),
            webhook: Webhook::of(crd),
        })
    }

    /// Whether somebody has to be asked.
    pub(crate) fn has_webhook(&self) -> bool {
        self.webhook.is_some()
    }

    /// The version in which an object is kept.
    fn version_of(&self, stored: &Stored) -> &str {
        let tag = stored.shape & TAG_MASK;
        let version = self.versions.iter().find(|(candidate, _)| *candidate == tag);
        version.map_or(&self.storage, |(_, name)| name)
    }
}

impl Webhook {
    fn of(crd: &Value) -> Option<Self> {
        let conversion = &crd["spec"]["conversion"];
        let webhook = &conversion["webhook"];
        (str_at(conversion, &["strategy"]) == "Webhook").then(|| Self {
            crd: str_at(crd, &["metadata", "name"]).to_owned(),
            client: client_config(&webhook["clientConfig"]),
            review: strings_at(webhook, &["conversionReviewVersions"]).into_iter().find_map(ReviewVersion::of),
        })
    }
}

/// An object in another version of its resource.
///
/// # Errors
/// A webhook does not convert it.
pub(crate) async fn convert(core: &Core, object: &Value, to: &Resource) -> Result<Value> {
    let api_version = str_at(object, &["apiVersion"]);
    if api_version == to.api_version {
        return Ok(object.clone());
    }
    let catalogue = core.registry.catalogue();
    if let Some(webhook) = catalogue.conversion(to).and_then(|conversion| conversion.webhook.as_ref()) {
        let mut converted = by_webhook(core, webhook, vec![object.clone()], to).await?;
        return converted.pop().ok_or_else(|| StatusError::internal("the conversion has no result"));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let from = catalogue.version(group, version);
    let from = from.and_then(|version| version.resources.iter().find(|resource| resource.table == to.table));
    Ok(from.map_or_else(|| to.in_version(object), |from| to.in_version(&from.in_store(object))))
}

/// Stored objects as a version of their resource shows them, for whoever reads them next: [`Resource::load`] and [`Resource::write`] only look.
///
/// # Errors
/// A webhook does not convert one.
pub(crate) async fn shown(core: &Core, resource: &Resource, objects: Vec<Arc<Stored>>) -> Result<Vec<Arc<Stored>>> {
    let Behaviour::Custom(custom) = &resource.behaviour else { return Ok(objects) };
    let catalogue = core.registry.catalogue();
    let Some(conversion) = catalogue.conversion(resource) else { return Ok(objects) };
    let mut objects = objects;
    let is_other = |stored: &Arc<Stored>| (conversion.version_of(stored) != custom.name).then(|| Arc::clone(stored));
    let others: Vec<Arc<Stored>> = objects.iter().filter_map(is_other).collect();
    let mut done = Vec::with_capacity(others.len());
    for batch in batches(&others) {
        let typed = batch.iter().map(|stored| typed(&catalogue, conversion, resource, stored));
        let mut converted = typed.collect::<Result<Vec<_>>>()?;
        match &conversion.webhook {
            Some(webhook) => converted = by_webhook(core, webhook, converted, resource).await?,
            None => converted.iter_mut().for_each(|object| custom.fit(object)),
        }
        done.extend(batch.iter().zip(converted).map(|(stored, object)| restored(stored, object, custom.shape)));
    }
    let mut done = done.into_iter();
    for object in objects.iter_mut().filter(|object| conversion.version_of(object) != custom.name) {
        if let Some(shown) = done.next() {
            *object = shown;
        }
    }
    Ok(objects)
}

/// An object as the store keeps it, and the version that it is kept in if that is another one.
///
/// # Errors
/// A webhook does not convert it.
pub(crate) async fn to_store(
    core: &Core,
    resource: &Resource,
    object: Value,
) -> Result<(Value, Option<Arc<Resource>>)> {
    if !resource.is_custom() {
        return Ok((object, None));
    }
    let catalogue = core.registry.catalogue();
    let Some(storage) = catalogue.storage(resource).filter(|storage| storage.api_version != resource.api_version)
    else {
        return Ok((object, None));
    };
    let mut object = convert(core, &object, storage).await?;
    if let Behaviour::Custom(custom) = &storage.behaviour {
        custom.shape_up(&mut object);
    }
    Ok((object, Some(Arc::clone(storage))))
}

/// An object as it would be read after a write of it, for who only tries.
///
/// # Errors
/// A webhook does not convert it.
pub(crate) async fn tried(core: &Core, resource: &Resource, object: Value) -> Result<Value> {
    let (object, storage) = to_store(core, resource, object).await?;
    if storage.is_none() {
        return Ok(object);
    }
    let mut shown = convert(core, &object, resource).await?;
    if let Behaviour::Custom(custom) = &resource.behaviour {
        custom.fit(&mut shown);
    }
    Ok(shown)
}

/// Whether an object is kept in the version that it would be kept in today; if not, a write that changes nothing changes that.
pub(crate) fn is_kept(core: &Core, resource: &Resource, stored: &Stored) -> bool {
    if !resource.is_custom() {
        return true;
    }
    let catalogue = core.registry.catalogue();
    catalogue.conversion(resource).is_none_or(|conversion| conversion.version_of(stored) == conversion.storage)
}

/// Pieces of what is to be converted, each for one review.
fn batches(objects: &[Arc<Stored>]) -> impl Iterator<Item = &[Arc<Stored>]> {
    let mut rest = objects;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |stored: &&Arc<Stored>| {
            bytes += stored.body.len();
            bytes <= MAX_REVIEW_BYTES
        };
        let count = rest.iter().take(MAX_OBJECTS).take_while(fits).count().max(1);
        let (batch, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(batch)
    })
}

/// A stored object as the version in which it is kept shows it.
fn typed(catalogue: &Catalogue, conversion: &Conversion, resource: &Resource, stored: &Stored) -> Result<Value> {
    let mut object: Value = serde_json::from_slice(&stored.body)
        .map_err(|error| StatusError::internal(&format!("{} {}: {error}", resource.table, stored.key)))?;
    let version = conversion.version_of(stored);
    let kept = catalogue.storage(resource).filter(|storage| storage.version == version);
    let kept = kept.or_else(|| {
        let resources = &catalogue.version(&conversion.group, version)?.resources;
        resources.iter().find(|other| other.table == resource.table)
    });
    if let Some(Behaviour::Custom(kept)) = kept.map(|kept| &kept.behaviour)
        && kept.shape != stored.shape
    {
        kept.shape_up(&mut object);
    }
    let fields = as_object(&mut object);
    let api_version = format!("{}/{version}", conversion.group);
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), resource.kind.as_str().into());
    Ok(object)
}

/// What a stored object would be if it were kept in the version that it is shown in.
fn restored(stored: &Stored, mut object: Value, shape: u64) -> Arc<Stored> {
    let fields = as_object(&mut object);
    fields.remove("apiVersion");
    fields.remove("kind");
    Arc::new(Stored {
        key: stored.key.clone(),
        revision: stored.revision,
        shape,
        labels: Labels::of(&object),
        body: object.to_string().into(),
    })
}

/// Objects of one other version, converted by one review; what their new version does not know is gone.
async fn by_webhook(core: &Core, webhook: &Webhook, objects: Vec<Value>, to: &Resource) -> Result<Vec<Value>> {
    let started = Instant::now();
    let from = objects.first().map(|object| str_at(object, &["apiVersion"]).to_owned()).unwrap_or_default();
    let converted = ask(core, webhook, &objects, to).await;
    let (_, from_version) = from.split_once('/').unwrap_or_default();
    let labels = ConversionLabels {
        crd_name: webhook.crd.clone(),
        from_version: from_version.to_owned(),
        to_version: to.version.clone(),
        succeeded: if converted.is_ok() { "true" } else { "false" },
    };
    core.metrics.conversion_s.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    let mut converted = converted.map_err(|why| {
        let text = format!("conversion webhook for {from}, Kind={} {why}", to.kind);
        StatusError::new(500, "", text)
    })?;
    if let Behaviour::Custom(custom) = &to.behaviour {
        converted.iter_mut().for_each(|object| custom.fit(object));
    }
    Ok(converted)
}

async fn ask(
    core: &Core,
    webhook: &Webhook,
    objects: &[Value],
    to: &Resource,
) -> std::result::Result<Vec<Value>, String> {
    let failed = |why: &str| format!("failed: {why}");
    let version = webhook.review.ok_or_else(|| failed("no supported conversion review versions"))?;
    let client = webhook.client.as_ref().ok_or_else(|| failed("its address cannot be read"))?;
    let uid = core.entropy.uid();
    let review = review::request(version, &uid, &to.api_version, objects);
    let call = Call { client, review: &review, timeout: TIMEOUT, max_answer_bytes: MAX_ANSWER_BYTES };
    let answer = core.hooks.call(&call).await.map_err(|error| failed(&error.text))?;
    review::converted(version, &uid, answer, objects, &to.api_version)
}
