//! Create, update, delete: bodies in, the one way to the store, the outcome back.

use serde_json::{Value, json};

use super::list::select;
use super::patch::refuse_nameless;
use super::{Answer, Ask, Content, conceal};
use crate::authz::Attributes;
use crate::field_error::FieldError;
use crate::http::query::{WriteOptions, dry_run};
use crate::negotiate::decode;
use crate::registry::Resource;
use crate::status::{Details, Result, StatusError, success, top};
use crate::strict::Decoded;
use crate::value::{at, bool_at, i64_at, str_at, strings_at};
use crate::writes::{self, Context, DeleteOptions, Deleted, Next, Propagation};

/// Kinds whose delete answers with the object even when it is gone.
const RETURN_DELETED: [&str; 7] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
];

pub(super) async fn create(ask: &Ask) -> Result<Answer> {
    decode::check_form(&ask.resource, &ask.content_type)?;
    let options = WriteOptions::parse(&ask.query, "CreateOptions")?;
    let (mut object, mut warnings) = body(ask, options)?;
    writes::drop_deletion(&mut object);
    let written = writes::create(&ask.context(options.is_dry_run), Next::Changed(object)).await;
    let written = written.map_err(|refused| refused.with_warnings(&warnings))?;
    warnings.extend(written.warnings.iter().cloned());
    Ok(Answer { warnings, ..Answer::from(written) })
}

pub(super) async fn update(ask: &Ask) -> Result<Answer> {
    let options = WriteOptions::parse(&ask.query, "UpdateOptions")?;
    let (object, mut warnings) = body(ask, options)?;
    check_names(ask, &object).map_err(|refused| refused.with_warnings(&warnings))?;
    let context = ask.context(options.is_dry_run);
    let given_uid = str_at(&object, &["metadata", "uid"]);
    let mut replace = |old: &Value| {
        check_uid(&ask.resource, old, given_uid, options.is_dry_run)?;
        check_kind(&ask.resource, &object)?;
        Ok(Next::Changed(object.clone()))
    };
    let written = match writes::update(&context, &ask.name, &mut replace).await {
        Err(error) if error.code == 404 && may_create(ask) => create_at(ask, &context, object).await,
        written => written,
    };
    let written = written.map_err(|refused| refused.with_warnings(&warnings))?;
    warnings.extend(written.warnings.iter().cloned());
    Ok(Answer { warnings, ..Answer::from(written) })
}

fn may_create(ask: &Ask) -> bool {
    ask.subresource.is_empty() && ask.resource.allows_create_on_update()
}

/// A PUT to a name that does not exist, of a kind that is made so.
async fn create_at(ask: &Ask, context: &Context<'_>, mut object: Value) -> Result<writes::Written> {
    let resource = &ask.resource;
    let (namespace, name) = (ask.namespace.as_str(), ask.name.as_str());
    let wanted = Attributes {
        verb: "create",
        group: &resource.group,
        resource: &resource.plural,
        namespace,
        name,
        ..Attributes::default()
    };
    ask.core.rbac.authorize(&ask.caller.identity, &wanted)?;
    let nothing = json!({"metadata": {"name": name, "namespace": namespace}});
    check_uid(resource, &nothing, str_at(&object, &["metadata", "uid"]), context.is_dry_run)?;
    let metadata = crate::value::object_at(&mut object, &["metadata"]);
    metadata.insert("name".to_owned(), name.into());
    metadata.remove("resourceVersion");
    writes::create(context, Next::Changed(object)).await
}

/// # Errors
/// 409 if a PUT is meant for an object that lived under this name before.
fn check_uid(resource: &Resource, old: &Value, given: &str, is_dry_run: bool) -> Result<()> {
    let (name, namespace) = (str_at(old, &["metadata", "name"]), str_at(old, &["metadata", "namespace"]));
    let uid = str_at(old, &["metadata", "uid"]);
    if given.is_empty() || given == uid {
        return Ok(());
    }
    let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    let table = etcd_prefix(resource);
    // A dry run asks before the key has its root.
    let root = if is_dry_run { "" } else { "/registry" };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{table}/{place}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {given}, UID in object meta: {uid}"
    );
    Err(StatusError::conflict(&resource.group, &resource.plural, name, &why))
}

/// Where kube-apiserver keeps a resource in etcd, which its texts tell.
fn etcd_prefix(resource: &Resource) -> String {
    let plural = resource.plural.as_str();
    match (resource.group.as_str(), plural) {
        (group, _) if resource.is_custom() => format!("{group}/{plural}"),
        (group @ "apiextensions.k8s.io", _) => format!("{group}/{plural}"),
        ("", "services") => "services/specs".to_owned(),
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("", "replicationcontrollers") => "controllers".to_owned(),
        ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
        _ => plural.to_owned(),
    }
}

/// # Errors
/// 400 if the body is for another object than the path, or for none.
fn check_names(ask: &Ask, object: &Value) -> Result<()> {
    let namespace = str_at(object, &["metadata", "namespace"]);
    if ask.resource.is_namespaced && !namespace.is_empty() && namespace != ask.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(StatusError::bad_request(message));
    }
    match decode::name_of(object) {
        "" => Err(refuse_nameless(&ask.name)),
        given if given != ask.name => {
            let name = &ask.name;
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            Err(StatusError::bad_request(message))
        }
        _ => Ok(()),
    }
}

/// # Errors
/// 422 for a custom object that says that it is of another kind.
pub(super) fn check_kind(resource: &Resource, object: &Value) -> Result<()> {
    let given = str_at(object, &["kind"]);
    if !resource.is_custom() || given.is_empty() || given == resource.kind {
        return Ok(());
    }
    let why = format!("must be {}", resource.kind);
    let error = FieldError::invalid(&top("kind"), given, &why);
    Err(StatusError::invalid(&resource.group, given, str_at(object, &["metadata", "name"]), &[error]))
}

fn body(ask: &Ask, options: WriteOptions) -> Result<(Value, Vec<String>)> {
    let resource = &ask.resource;
    let Decoded { value, strict_errors } =
        decode::object(resource, &ask.content_type, &ask.body, options.field_validation)?;
    let warnings =
        decode::settle_strictness(&resource.kind, &resource.version, &strict_errors, options.field_validation)?;
    Ok((value, warnings))
}

pub(super) async fn delete(ask: &Ask) -> Result<Answer> {
    let (options, is_dry_run) = delete_options(ask)?;
    let resource = &ask.resource;
    let deleted = writes::delete(&ask.context(is_dry_run), &ask.name, &options).await?;
    let Deleted { mut object, is_gone, warnings } = deleted;
    if is_gone {
        conceal::object(resource, &mut object);
    }
    let returns_object = resource.group.is_empty() && RETURN_DELETED.contains(&resource.plural.as_str());
    let content = if !is_gone || returns_object {
        Content::Object(object)
    } else {
        Content::Other(success(
            Some(Details {
                name: ask.name.clone(),
                group: resource.group.clone(),
                kind: resource.plural.clone(),
                uid: str_at(&object, &["metadata", "uid"]).to_owned(),
                ..Details::default()
            }),
            None,
        ))
    };
    let code = if !is_gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    Ok(Answer { code, content, warnings })
}

pub(super) async fn delete_collection(ask: &Ask) -> Result<Answer> {
    let (options, is_dry_run) = delete_options(ask)?;
    let list = select(ask).await?;
    let mut warnings = Vec::new();
    for stored in &list.objects {
        let context = Context { namespace: stored.key.namespace(), ..ask.context(is_dry_run) };
        match writes::delete(&context, stored.key.name(), &options).await {
            Ok(deleted) => warnings.extend(deleted.warnings),
            // Somebody else was faster.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Answer { warnings, ..Answer::ok(Content::List(list)) })
}

/// The options of a delete, from the body or, if there is none, from the query.
fn delete_options(ask: &Ask) -> Result<(DeleteOptions, bool)> {
    let body = decode::delete_options(&ask.content_type, &ask.body)?;
    let query = &ask.query;
    let refuse = |error: FieldError| StatusError::invalid_option("DeleteOptions", &error);
    let Some(body) = body else {
        let is_dry_run = dry_run(query.all("dryRun")).map_err(refuse)?;
        let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let options = DeleteOptions {
            grace_period_s: query.number("gracePeriodSeconds")?,
            propagation: propagation(query.text("propagationPolicy"), query.optional_flag("orphanDependents"))?,
            orphan_dependents: query.optional_flag("orphanDependents"),
            uid: text("preconditions.uid"),
            resource_version: text("preconditions.resourceVersion"),
        };
        return Ok((options, is_dry_run));
    };
    let text = |name: &str| at(&body, &["preconditions", name]).and_then(Value::as_str).map(str::to_owned);
    let orphan_dependents = bool_at(&body, &["orphanDependents"]);
    let options = DeleteOptions {
        grace_period_s: i64_at(&body, &["gracePeriodSeconds"]),
        propagation: propagation(str_at(&body, &["propagationPolicy"]), orphan_dependents)?,
        orphan_dependents,
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    };
    // As in Kubernetes, the query says nothing where there is a body.
    Ok((options, dry_run(strings_at(&body, &["dryRun"]).into_iter()).map_err(refuse)?))
}

fn propagation(policy: &str, orphan_dependents: Option<bool>) -> Result<Option<Propagation>> {
    let field = top("propagationPolicy");
    let propagation = match policy {
        "" => return Ok(None),
        "Foreground" => Propagation::Foreground,
        "Background" => Propagation::Background,
        "Orphan" => Propagation::Orphan,
        other => {
            let error = FieldError::not_supported(&field, other, &["Foreground", "Background", "Orphan", "nil"]);
            return Err(StatusError::invalid_option("DeleteOptions", &error));
        }
    };
    if orphan_dependents.is_some() {
        let error = FieldError::invalid(&field, policy, "orphanDependents and deletionPropagation cannot be both set");
        return Err(StatusError::invalid_option("DeleteOptions", &error));
    }
    Ok(Some(propagation))
}
