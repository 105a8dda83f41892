//! The `token` subresource of ServiceAccounts: a token for an audience and a time, perhaps bound to a Pod.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::authn::{BoundObject, TokenAsk};
use crate::core::time_text;
use crate::facts;
use crate::field_error::FieldError;
use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::status::{Result, StatusError, top};
use crate::store::{ObjectKey, TableName};
use crate::value::{at, i64_at, object_at, str_at, strings_at};
use crate::verbs::{Answer, Ask, Content};

const DEFAULT_LIFETIME_S: i64 = 3600;
const MIN_LIFETIME_S: i64 = 600;
const MAX_LIFETIME_S: i64 = 1 << 32;

pub(super) async fn create(ask: &Ask) -> Result<Answer> {
    let is_dry_run = WriteOptions::parse(&ask.query, "CreateOptions")?.is_dry_run;
    let core = &ask.core;
    let key = ObjectKey::new(&ask.namespace, &ask.name);
    let account = core.store.get(&ask.resource.table, &key).ok_or_else(|| ask.resource.not_found(&ask.name))?;
    let account = ask.resource.load(&account)?;
    let mut request =
        decode::body_of("authentication.k8s.io", "v1", "TokenRequest", &ask.content_type, &ask.body)?.value;
    let of = facts::type_of_kind("authentication.k8s.io", "v1", "TokenRequest");
    let fields = of.and_then(|of| ask.fields_of_question(of, "authentication.k8s.io/v1", &request));
    let kind = ("authentication.k8s.io/v1", "TokenRequest");
    let mut warnings = Vec::new();
    request = ask.context(is_dry_run).admit_posted(&ask.name, kind, request, &mut warnings).await?;
    let mut audiences: Vec<String> =
        strings_at(&request, &["spec", "audiences"]).into_iter().map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(core.authenticator.accounts().issuer().to_owned());
    }
    let lifetime_s = i64_at(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_LIFETIME_S);
    check_lifetime(&ask.name, lifetime_s)?;
    let now = core.clock.now();
    let token = core.authenticator.accounts().sign(TokenAsk {
        namespace: &ask.namespace,
        name: &ask.name,
        uid: str_at(&account, &["metadata", "uid"]),
        audiences: audiences.clone(),
        lifetime_s,
        bound: bound_object(ask, &request)?,
        id: core.entropy.uid(),
        now,
    });
    let (token, _) = token.map_err(|error| StatusError::internal(&format!("sign a token: {error}")))?;
    let expires = now.checked_add(SignedDuration::from_secs(lifetime_s)).unwrap_or(now);
    let spec = object_at(&mut request, &["spec"]);
    spec.insert("audiences".to_owned(), json!(audiences));
    spec.insert("expirationSeconds".to_owned(), lifetime_s.into());
    spec.entry("boundObjectRef").or_insert(Value::Null);
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    let metadata = object_at(&mut request, &["metadata"]);
    metadata.insert("name".to_owned(), ask.name.as_str().into());
    metadata.insert("namespace".to_owned(), ask.namespace.as_str().into());
    metadata.insert("uid".to_owned(), account["metadata"]["uid"].clone());
    metadata.insert("creationTimestamp".to_owned(), time_text(now).into());
    metadata.extend(fields.map(|fields| ("managedFields".to_owned(), fields)));
    // A dry run hands out nothing that works.
    let token = if is_dry_run { String::new() } else { token };
    request["status"] = json!({"token": token, "expirationTimestamp": time_text(expires)});
    Ok(Answer { warnings, ..Answer::created(Content::Other(request)) })
}

fn check_lifetime(name: &str, lifetime_s: i64) -> Result<()> {
    let spec = top("spec");
    let field = spec.child("expirationSeconds");
    let error = match lifetime_s {
        ..MIN_LIFETIME_S => FieldError::invalid(&field, lifetime_s, "may not specify a duration less than 10 minutes"),
        MAX_LIFETIME_S.. => {
            FieldError::invalid(&field, lifetime_s, "may not specify a duration larger than 2^32 seconds")
        }
        _ => return Ok(()),
    };
    Err(StatusError::invalid("authentication.k8s.io", "TokenRequest", name, &[error]))
}

/// The object whose end shall be the token's end.
fn bound_object(ask: &Ask, request: &Value) -> Result<Option<BoundObject>> {
    let Some(reference) = at(request, &["spec", "boundObjectRef"]) else { return Ok(None) };
    let text = |name: &str| str_at(reference, &[name]).to_owned();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (table, namespace) = match kind.as_str() {
        "Pod" => ("pods", ask.namespace.as_str()),
        "Secret" => ("secrets", ask.namespace.as_str()),
        "Node" => ("nodes", ""),
        other => return Err(StatusError::bad_request(format!("cannot bind token to object of type \"{other}\""))),
    };
    let stored = ask.core.store.get(&TableName::from(table), &ObjectKey::new(namespace, &name));
    let stored = stored.ok_or_else(|| StatusError::not_found("", table, &name))?;
    let object: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
    let found = str_at(&object, &["metadata", "uid"]).to_owned();
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(StatusError::conflict("", table, &name, &why));
    }
    if kind == "Pod" && str_at(&object, &["spec", "serviceAccountName"]) != ask.name {
        let why = format!(
            "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
            ask.name
        );
        return Err(StatusError::bad_request(why));
    }
    Ok(Some(BoundObject { kind, name, uid: found }))
}
