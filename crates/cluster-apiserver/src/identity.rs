//! Who asks: the user that authentication found, handed to authorization and admission.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::audit::Trail;

/// The group of every authenticated user.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything, without rules.
pub const MASTERS: &str = "system:masters";
/// The name of who did not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A user, in Kubernetes' sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name that rules and `creator` annotations go by.
    pub username: String,
    /// Distinguishes users that had the same name at different times; often empty.
    pub uid: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user in the given groups, and among the authenticated.
    pub fn user<G: Into<String>>(username: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        groups.push(AUTHENTICATED.to_owned());
        Self { username: username.into(), groups, ..Self::default() }
    }

    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        Self::user(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), groups)
    }

    /// Who may do everything.
    pub fn master(username: impl Into<String>) -> Self {
        Self::user(username, [MASTERS])
    }

    /// Who did not say who they are.
    pub fn anonymous() -> Self {
        Self { username: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|candidate| candidate == group)
    }

    /// The user as `UserInfo` of `authentication.k8s.io`.
    pub(crate) fn to_value(&self) -> Value {
        let mut info = json!({"username": self.username});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.as_str().into();
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    /// Namespace and name of the ServiceAccount that this user is.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.username.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
    }
}

/// An identity, and how it came in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    /// Whether it is code of this process, which needs no proof and whose replicas may be lazy.
    pub(crate) is_in_process: bool,
    /// Whether it is the server itself, or whoever sets it up: webhooks are not asked then, they may not be there yet.
    pub(crate) is_server: bool,
    /// Where what happens is recorded, if it is.
    pub(crate) trail: Option<Arc<Trail>>,
}

impl Caller {
    /// Somebody at a distance.
    pub(crate) fn remote(identity: Identity) -> Self {
        Self { identity, is_in_process: false, is_server: false, trail: None }
    }

    /// Code of this process.
    pub(crate) fn in_process(identity: Identity) -> Self {
        Self { identity, is_in_process: true, is_server: false, trail: None }
    }

    /// The server itself.
    pub(crate) fn server() -> Self {
        Self { is_server: true, ..Self::in_process(Identity::master("system:apiserver")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_a_user_in_its_groups() {
        let account = Identity::service_account("knative", "controller");
        assert_eq!(account.username, "system:serviceaccount:knative:controller");
        assert!(account.is_in("system:serviceaccounts:knative") && account.is_in(AUTHENTICATED));
        assert_eq!(account.as_service_account(), Some(("knative", "controller")));
        assert_eq!(Identity::master("a").as_service_account(), None);
    }
}
