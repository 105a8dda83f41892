//! ServiceAccount tokens: signed (ES256) by a key that the embedding program keeps, valid for an audience and a time, and only as long as the
//! ServiceAccount, and the Pod they are bound to, are the same.
//!
//! The claims are Kubernetes' own; `/openid/v1/jwks` publishes the key.

use base_rt::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::identity::Identity;
use crate::store::{ObjectKey, Store, TableName};
use crate::value::{at, str_at};

/// Clocks may differ by so much.
const LEEWAY_S: i64 = 10;
/// Longer tokens are refused unread.
const MAX_LENGTH: usize = 16 << 10;

/// Signs ServiceAccount tokens: a P-256 key. Keep its PEM text secret and keep it: tokens live across restarts.
pub struct ServiceAccountKey {
    sign: EncodingKey,
    verify: DecodingKey,
    /// The public point's coordinates.
    point: [String; 2],
    id: String,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountKeyError {
    /// It could not be made.
    #[error("generate a key")]
    Generate(#[source] rcgen::Error),
    /// It is not a PKCS#8 PEM of a P-256 key.
    #[error("read the key: a PKCS#8 PEM text of a P-256 key is wanted")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServiceAccountKey {
    /// Makes a key, as PEM text to keep.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate_pem() -> Result<String, ServiceAccountKeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(ServiceAccountKeyError::Generate)?;
        Ok(pair.serialize_pem())
    }

    /// Reads a key.
    ///
    /// # Errors
    /// The text is not one of [`ServiceAccountKey::generate_pem`]'s kind.
    pub fn from_pem(pem: &str) -> Result<Self, ServiceAccountKeyError> {
        let read = |error: jsonwebtoken::errors::Error| ServiceAccountKeyError::Read(Box::new(error));
        let pair = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| ServiceAccountKeyError::Read(Box::new(error)))?;
        let sign = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(read)?;
        // An uncompressed point: 4, x, y.
        let raw = pair.der_bytes();
        let [x, y] = [raw.get(1..33), raw.get(33..65)].map(|part| URL_SAFE_NO_PAD.encode(part.unwrap_or_default()));
        let verify = DecodingKey::from_ec_components(&x, &y).map_err(read)?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(raw));
        Ok(Self { sign, verify, point: [x, y], id })
    }
}

impl std::fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    aud: Vec<String>,
    pub(crate) exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
    nbf: i64,
    sub: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KubernetesClaims {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reference {
    name: String,
    #[serde(default)]
    uid: String,
}

/// The object whose end is the token's end.
#[derive(Clone, Debug)]
pub(crate) struct BoundObject {
    /// `Pod`, `Secret` or `Node`.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The token that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct TokenAsk<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) audiences: Vec<String>,
    pub(crate) lifetime_s: i64,
    pub(crate) bound: Option<BoundObject>,
    /// A new identifier for the token.
    pub(crate) id: String,
    pub(crate) now: Timestamp,
}

/// Signs and verifies.
pub(crate) struct Accounts {
    key: ServiceAccountKey,
    issuer: String,
    store: Store,
}

impl Accounts {
    pub(super) fn new(key: ServiceAccountKey, issuer: String, store: Store) -> Self {
        Self { key, issuer, store }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key for whoever verifies tokens elsewhere.
    pub(crate) fn jwks(&self) -> Value {
        let [x, y] = &self.key.point;
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.key.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }

    /// Signs a token.
    pub(crate) fn sign(&self, ask: TokenAsk<'_>) -> Result<(String, Claims), jsonwebtoken::errors::Error> {
        let now = ask.now.as_second();
        let reference = |kind: &str| {
            let bound = ask.bound.as_ref().filter(|bound| bound.kind == kind)?;
            Some(Reference { name: bound.name.clone(), uid: bound.uid.clone() })
        };
        let kubernetes = KubernetesClaims {
            namespace: ask.namespace.to_owned(),
            node: reference("Node"),
            pod: reference("Pod"),
            secret: reference("Secret"),
            serviceaccount: Reference { name: ask.name.to_owned(), uid: ask.uid.to_owned() },
        };
        let claims = Claims {
            aud: ask.audiences,
            exp: now.saturating_add(ask.lifetime_s),
            iat: now,
            iss: self.issuer.clone(),
            jti: ask.id,
            kubernetes,
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", ask.namespace, ask.name),
        };
        let header = Header { kid: Some(self.key.id.clone()), typ: None, ..Header::new(Algorithm::ES256) };
        Ok((jsonwebtoken::encode(&header, &claims, &self.key.sign)?, claims))
    }

    /// The user of a token and the audiences it is for, among those asked for (none: this server).
    pub(super) fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Option<(Identity, Vec<String>)> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        // Time and audience are looked at here: the time is an argument, and a token may be for several.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.verify, &validation).ok()?.claims;
        let now = now.as_second();
        if now > claims.exp.saturating_add(LEEWAY_S) || now.saturating_add(LEEWAY_S) < claims.nbf {
            return None;
        }
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own } else { audiences };
        let meant: Vec<String> = claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        (!meant.is_empty() && self.is_alive(&claims)).then(|| (identity(&claims), meant))
    }

    /// Whether everything that the token is bound to is still the same.
    fn is_alive(&self, claims: &Claims) -> bool {
        let bound = &claims.kubernetes;
        let namespace = bound.namespace.as_str();
        let is_same = |table: &str, namespace: &str, reference: &Reference| {
            let stored = self.store.get(&TableName::from(table), &ObjectKey::new(namespace, &reference.name));
            let object =
                stored.and_then(|stored| serde_json::from_slice::<Value>(&stored.body).ok()).unwrap_or_default();
            let is_held = table == "serviceaccounts" && at(&object, &["metadata", "deletionTimestamp"]).is_some();
            !object.is_null() && str_at(&object, &["metadata", "uid"]) == reference.uid && !is_held
        };
        let optional = |table: &str, namespace: &str, reference: &Option<Reference>| {
            reference.as_ref().is_none_or(|reference| is_same(table, namespace, reference))
        };
        is_same("serviceaccounts", namespace, &bound.serviceaccount)
            && optional("pods", namespace, &bound.pod)
            && optional("secrets", namespace, &bound.secret)
            && optional("nodes", "", &bound.node)
    }
}

fn identity(claims: &Claims) -> Identity {
    let bound = &claims.kubernetes;
    let mut identity = Identity::service_account(&bound.namespace, &bound.serviceaccount.name);
    identity.uid.clone_from(&bound.serviceaccount.uid);
    let mut note = |key: &str, value: &str| {
        identity.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    note("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &bound.pod {
        note("pod-name", &pod.name);
        note("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        note("node-name", &node.name);
        note("node-uid", &node.uid);
    }
    identity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::memory::MemoryDisk;
    use crate::store::{Durability, Expected, Labels, NewBody, Write};
    use base_rt::metrics::Scope;

    const ISSUER: &str = "https://kubernetes.default.svc";

    async fn put(store: &Store, table: &str, key: &str, uid: &str) {
        let table = TableName::from(table);
        store.ensure_table(&table);
        let write = Write {
            table,
            key: ObjectKey::from(key),
            expected: Expected::Absent,
            durability: Durability::Durable,
            is_deletion: false,
            max_bytes: usize::MAX,
        };
        let body = json!({"metadata": {"uid": uid}}).to_string().into_bytes();
        store.commit(write, |_| NewBody { body, labels: Labels::default(), shape: 0 }).await.expect("write");
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_time_audience_and_account() {
        let store = Store::open(MemoryDisk::new().journal(), &Scope::root()).expect("open");
        put(&store, "serviceaccounts", "a/bot", "u1").await;
        put(&store, "pods", "a/p", "u2").await;
        let pem = ServiceAccountKey::generate_pem().expect("key");
        let accounts = Accounts::new(ServiceAccountKey::from_pem(&pem).expect("key"), ISSUER.to_owned(), store);
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().expect("time");
        let later = |seconds: i64| now + jiff::SignedDuration::from_secs(seconds);
        let ask = |audience: &str, uid, pod_uid: &str| TokenAsk {
            namespace: "a",
            name: "bot",
            uid,
            audiences: vec![audience.to_owned()],
            lifetime_s: 600,
            bound: Some(BoundObject { kind: "Pod".into(), name: "p".into(), uid: pod_uid.into() }),
            id: "1".to_owned(),
            now,
        };
        let (token, _) = accounts.sign(ask(ISSUER, "u1", "u2")).expect("token");
        let (user, audiences) = accounts.verify(&token, &[], later(599)).expect("good");
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("system:serviceaccount:a:bot", "u1"));
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(audiences, [ISSUER]);
        assert!(accounts.verify(&token, &[], later(611)).is_none(), "expired");
        assert!(accounts.verify(&token, &["other".to_owned()], now).is_none(), "for another audience");
        assert!(accounts.verify(&format!("{token}x"), &[], now).is_none(), "tampered with");
        for (audience, uid, pod) in [("other", "u1", "u2"), (ISSUER, "u0", "u2"), (ISSUER, "u1", "u0")] {
            let (token, _) = accounts.sign(ask(audience, uid, pod)).expect("token");
            assert!(accounts.verify(&token, &[], now).is_none(), "{audience} {uid} {pod}");
        }
        let other = ServiceAccountKey::from_pem(&ServiceAccountKey::generate_pem().expect("key")).expect("key");
        let strangers = Accounts::new(other, ISSUER.to_owned(), accounts.store.clone());
        let (token, _) = strangers.sign(ask(ISSUER, "u1", "u2")).expect("token");
        assert!(accounts.verify(&token, &[], now).is_none(), "signed by somebody else");
    }
}
