//! Asking as somebody else: the `Impersonate-…` headers, if the rules allow it.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::authz::{Attributes, Rbac};
use crate::identity::{ANONYMOUS, AUTHENTICATED, Identity};
use crate::status::{Result, StatusError};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers name, or `None` if they name nobody.
///
/// # Errors
/// 403 if `identity` may not ask as them.
pub(crate) fn impersonated(headers: &HeaderMap, identity: &Identity, rbac: &Rbac) -> Result<Option<Identity>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let username = text(USER);
    let uid = text(UID);
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let extra = extra(headers);
    if username.is_empty() {
        let is_asked = !uid.is_empty() || !groups.is_empty() || !extra.is_empty();
        return match is_asked {
            true => Err(StatusError::bad_request("requested groups, a uid or extra without impersonating a user name")),
            false => Ok(None),
        };
    }
    let ask = |group, resource, subresource, namespace, name| {
        let ask = Attributes { verb: "impersonate", group, resource, subresource, namespace, name, path: "" };
        rbac.authorize(identity, &ask)
    };
    let mut user = Identity { username, uid, groups, extra };
    match user.as_service_account() {
        Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name)?,
        None => ask("", "users", "", "", &user.username)?,
    }
    for group in &user.groups {
        ask("", "groups", "", "", group)?;
    }
    if !user.uid.is_empty() {
        ask("authentication.k8s.io", "uids", "", "", &user.uid)?;
    }
    for (key, values) in &user.extra {
        for value in values {
            ask("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if user.groups.is_empty()
        && let Some((namespace, name)) = user.as_service_account()
    {
        user.groups = Identity::service_account(namespace, name).groups;
    }
    if user.username != ANONYMOUS && !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    Ok(Some(user))
}

fn extra(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let Ok(value) = value.to_str() else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        extra.entry(key).or_default().push(value.to_owned());
    }
    extra
}
