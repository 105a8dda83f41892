//! Image references: what a user types, normalised to what Docker and containerd would mean by it.
//!
//! ```text
//! hello                     docker.io/library/hello:latest
//! kwick/hello:v2            docker.io/kwick/hello:v2
//! localhost/hello           localhost/hello:latest
//! ghcr.io/a/b:v1@sha256:…   ghcr.io/a/b@sha256:…        (the digest wins, as for containerd)
//! ```
//! The first path component is a registry when it is `localhost`, holds a `.` or a `:`, or an upper-case letter; otherwise the
//! registry is `docker.io`, where a single component stands for `library/…`.
//!
//! A [`Reference`] is always normalised and always selects something: a tag or a digest. Its order groups a repository's references.
//! [`Reference::to_knative`] gives the same image as go-containerregistry prints it, which is what Knative's status shows.
//!
//! Specified by: the `distribution/reference` grammar, and OCI distribution-spec (`<name>`, `<reference>`).

mod grammar;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError, shorten};

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The same registry's older name: accepted from users, and what go-containerregistry prints.
const LEGACY_REGISTRY: &str = "index.docker.io";

/// The host that serves [`DEFAULT_REGISTRY`]'s API.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";

/// The namespace of [`DEFAULT_REGISTRY`]'s images without one.
const OFFICIAL_NAMESPACE: &str = "library";

/// The tag of a reference that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// The longest text that is looked at. No valid reference comes near.
const MAX_REFERENCE_BYTES: usize = 1024;

/// The longest repository path, in bytes.
const MAX_REPOSITORY_BYTES: usize = 255;

/// A normalised image reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    selector: Selector,
}

/// What a reference selects in its repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// A name that may move.
    Tag(String),
    /// Content that cannot.
    Digest(Digest),
}

/// A text that is no image reference. The messages say which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("an image reference must not be empty")]
    Empty,
    /// Longer than any reference can be.
    #[error("an image reference has at most {MAX_REFERENCE_BYTES} bytes, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The registry's host or port.
    #[error("invalid image reference {reference:?}: {registry:?} is not a registry host with an optional port")]
    Registry {
        /// The whole text.
        reference: String,
        /// The part in question.
        registry: String,
    },
    /// Upper-case letters in the repository.
    #[error("invalid image reference {reference:?}: repository name {repository:?} must be lower-case")]
    UpperCase {
        /// The whole text.
        reference: String,
        /// The part in question.
        repository: String,
    },
    /// Any other fault of the repository.
    #[error(
        "invalid image reference {reference:?}: repository {repository:?} must be lower-case letters and digits, separated by \
         single '.', one or two '_', or '-', in components separated by '/', at most {MAX_REPOSITORY_BYTES} bytes in all"
    )]
    Repository {
        /// The whole text.
        reference: String,
        /// The part in question.
        repository: String,
    },
    /// A repository that looks like an image id.
    #[error(
        "invalid image reference {reference:?}: a repository cannot be 64 hexadecimal digits; write name@sha256:… for a digest"
    )]
    LooksLikeDigest {
        /// The whole text.
        reference: String,
    },
    /// The tag.
    #[error(
        "invalid image reference {reference:?}: tag {tag:?} must be 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'"
    )]
    Tag {
        /// The whole text.
        reference: String,
        /// The part in question.
        tag: String,
    },
    /// The digest.
    #[error("invalid image reference {reference:?}")]
    Digest {
        /// The whole text.
        reference: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
}

impl Reference {
    /// Parses and normalises what a user typed.
    ///
    /// # Errors
    /// [`ReferenceError`], naming the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        check_length(text)?;
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(parse_digest(text, digest)?)),
            None => (text, None),
        };
        let (registry, remainder) = split_registry(name);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if let Some(tag) = tag.filter(|tag| !grammar::is_tag(tag)) {
            return Err(ReferenceError::Tag { reference: shorten(text), tag: shorten(tag) });
        }
        let is_official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if is_official { format!("{OFFICIAL_NAMESPACE}/{path}") } else { path.to_owned() };
        check_name(text, registry, path, &repository)?;
        let selector = match digest {
            Some(digest) => Selector::Digest(digest),
            None => Selector::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository, selector })
    }

    /// A reference from parts that a registry's URL spells out: nothing is defaulted, everything is checked.
    ///
    /// # Errors
    /// [`ReferenceError`], naming the part that is wrong.
    pub fn from_parts(registry: &str, repository: &str, selector: Selector) -> Result<Self, ReferenceError> {
        let text = format!("{registry}/{repository}");
        check_length(&text)?;
        check_name(&text, registry, repository, repository)?;
        if let Selector::Tag(tag) = &selector
            && !grammar::is_tag(tag)
        {
            return Err(ReferenceError::Tag { reference: shorten(&text), tag: shorten(tag) });
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), selector })
    }

    /// The registry, as in the name: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry: `library/hello`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What it selects.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The tag, unless it selects by digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.selector {
            Selector::Tag(tag) => Some(tag),
            Selector::Digest(_) => None,
        }
    }

    /// The digest, unless it selects by tag.
    pub fn digest(&self) -> Option<Digest> {
        match &self.selector {
            Selector::Tag(_) => None,
            Selector::Digest(digest) => Some(*digest),
        }
    }

    /// Registry and repository: `docker.io/library/hello`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Host and optional port of the server that speaks this registry's API (`docker.io` is served by another host).
    pub fn host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_HOST } else { &self.registry }
    }

    /// The same repository by digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { selector: Selector::Digest(digest), ..self.clone() }
    }

    /// The same repository and selector at another registry. `registry` must be one already: it comes from configuration.
    pub(crate) fn with_registry(&self, registry: &str) -> Self {
        Self { registry: registry.to_owned(), ..self.clone() }
    }

    /// The shortest text that means the same: `hello` for `docker.io/library/hello:latest`. For people.
    pub fn to_familiar(&self) -> String {
        let path = if self.registry == DEFAULT_REGISTRY { self.to_familiar_path() } else { self.name() };
        match &self.selector {
            Selector::Tag(tag) if tag == DEFAULT_TAG => path,
            selector => format!("{path}{selector}"),
        }
    }

    fn to_familiar_path(&self) -> String {
        match self.repository.split_once('/') {
            Some((OFFICIAL_NAMESPACE, rest)) if !rest.contains('/') => rest.to_owned(),
            // Without its registry this would read as a reference to another one.
            Some((first, _)) if is_registry_component(first) => self.name(),
            _ => self.repository.clone(),
        }
    }

    /// The image as go-containerregistry prints it, thus as Knative's `status.containerStatuses[].imageDigest` shows it:
    /// `index.docker.io/library/hello@sha256:…`.
    pub fn to_knative(&self) -> String {
        let registry = if self.registry == DEFAULT_REGISTRY { LEGACY_REGISTRY } else { &self.registry };
        format!("{registry}/{}{}", self.repository, self.selector)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.selector)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl Selector {
    /// Reads the `<reference>` of a registry's URL: a digest or a tag.
    ///
    /// # Errors
    /// [`ReferenceError::Tag`] or [`ReferenceError::Digest`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            return parse_digest(text, text).map(Self::Digest);
        }
        let tag = grammar::is_tag(text).then(|| Self::Tag(text.to_owned()));
        tag.ok_or_else(|| ReferenceError::Tag { reference: shorten(text), tag: shorten(text) })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether `text` can be the `<name>` of a registry's URL.
pub(crate) fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY_BYTES && grammar::is_repository(text)
}

fn check_length(text: &str) -> Result<(), ReferenceError> {
    match text.len() {
        0 => Err(ReferenceError::Empty),
        length if length > MAX_REFERENCE_BYTES => Err(ReferenceError::TooLong { length }),
        _ => Ok(()),
    }
}

/// The registry and the rest, by Docker's rules.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if is_registry_component(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry_component(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':']) || component.chars().any(char::is_uppercase)
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest, ReferenceError> {
    digest.parse().map_err(|source| ReferenceError::Digest { reference: shorten(text), source })
}

/// Checks registry and repository. `path` is the repository as typed, `repository` the normalised one.
fn check_name(text: &str, registry: &str, path: &str, repository: &str) -> Result<(), ReferenceError> {
    let reference = || shorten(text);
    if !grammar::is_registry(registry) {
        return Err(ReferenceError::Registry { reference: reference(), registry: shorten(registry) });
    }
    if path.chars().any(char::is_uppercase) {
        return Err(ReferenceError::UpperCase { reference: reference(), repository: shorten(path) });
    }
    if Digest::from_hex(text).is_some() {
        return Err(ReferenceError::LooksLikeDigest { reference: reference() });
    }
    if !is_repository(repository) {
        return Err(ReferenceError::Repository { reference: reference(), repository: shorten(path) });
    }
    Ok(())
}
