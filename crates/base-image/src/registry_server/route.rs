//! From a path to what is meant, and the query's parameters.
//!
//! A repository's name holds slashes, so a path is read from its end.

use percent_encoding::percent_decode_str;

use super::error::{Code, Failure};
use crate::digest::Digest;
use crate::reference::{Selector, is_repository};

/// The longest path that is looked at: a name, a verb and a digest.
const MAX_PATH_BYTES: usize = 1024;

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Ping,
    Catalog,
    Images,
    Tags { name: String },
    Referrers { name: String, digest: Digest },
    Manifest { name: String, selector: Selector },
    Blob { name: String, digest: Digest },
    Uploads { name: String },
    Upload { name: String, id: String },
}

impl Route {
    pub(super) fn parse(path: &str) -> Result<Self, Failure> {
        let unknown = || Failure::new(Code::NameUnknown, "the registry has no such path");
        if path.len() > MAX_PATH_BYTES {
            return Err(Failure::new(Code::NameInvalid, format!("the path is longer than {MAX_PATH_BYTES} bytes")));
        }
        let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown())?;
        let rest = path.strip_prefix("/v2").ok_or_else(unknown)?;
        match rest {
            "" | "/" => return Ok(Self::Ping),
            "/_catalog" => return Ok(Self::Catalog),
            "/_kwick/images" => return Ok(Self::Images),
            _ => {}
        }
        let mut components: Vec<_> = rest.strip_prefix('/').ok_or_else(unknown)?.split('/').collect();
        let name = |components: &[&str]| {
            let name = components.join("/");
            let message =
                || format!("{name:?} is no repository name: lower-case letters, digits and single separators");
            if is_repository(&name) { Ok(name) } else { Err(Failure::new(Code::NameInvalid, message())) }
        };
        let last = components.pop().unwrap_or_default();
        match (components.as_slice(), last) {
            ([before @ .., "tags"], "list") => Ok(Self::Tags { name: name(before)? }),
            ([before @ .., "referrers"], digest) => {
                Ok(Self::Referrers { name: name(before)?, digest: digest.parse()? })
            }
            ([before @ .., "manifests"], text) => {
                let selector = Selector::parse(text);
                let invalid =
                    |error: crate::ReferenceError| Failure::new(Code::ManifestInvalid, base_rt::error_chain(&error));
                Ok(Self::Manifest { name: name(before)?, selector: selector.map_err(invalid)? })
            }
            ([before @ .., "blobs", "uploads"], "") | ([before @ .., "blobs"], "uploads") => {
                Ok(Self::Uploads { name: name(before)? })
            }
            ([before @ .., "blobs", "uploads"], id) => Ok(Self::Upload { name: name(before)?, id: id.to_owned() }),
            ([before @ .., "blobs"], digest) => Ok(Self::Blob { name: name(before)?, digest: digest.parse()? }),
            _ => Err(unknown()),
        }
    }
}

/// The parameters of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The first value of `name`, decoded.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let values = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = values.into_iter().find(|(key, _)| *key == name)?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    }

    /// The value of `name` as a digest, if it is given.
    pub(super) fn digest(&self, name: &str) -> Result<Option<Digest>, Failure> {
        self.get(name).map(|text| Ok(text.parse()?)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::of(b"");
        let parse = |path: &str| Route::parse(path).unwrap();
        assert_eq!(parse("/v2/"), Route::Ping);
        assert_eq!(parse("/v2/_catalog"), Route::Catalog);
        assert_eq!(parse("/v2/tags/tags/list"), Route::Tags { name: "tags".into() });
        assert_eq!(
            parse("/v2/a/b/manifests/v1"),
            Route::Manifest { name: "a/b".into(), selector: Selector::Tag("v1".into()) }
        );
        let encoded = digest.to_string().replace(':', "%3A");
        assert_eq!(parse(&format!("/v2/blobs/blobs/{encoded}")), Route::Blob { name: "blobs".into(), digest });
        assert_eq!(parse("/v2/a/blobs/uploads/"), Route::Uploads { name: "a".into() });
        assert_eq!(parse("/v2/a/blobs/uploads/x"), Route::Upload { name: "a".into(), id: "x".into() });
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "/",
            "/v1/",
            "/v2a",
            "/v2/a",
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/a/blobs/x",
            "/v2/a/manifests/-",
            "/v2/a/../b/tags/list",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
        let long = format!("/v2/{}/tags/list", "a".repeat(MAX_PATH_BYTES));
        assert!(Route::parse(&long).is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::new(Some("digest=sha256%3Aabc&ns=docker.io&x"));
        assert_eq!(query.get("digest").unwrap(), "sha256:abc");
        assert_eq!((query.get("ns").unwrap().as_str(), query.get("x")), ("docker.io", None));
        assert!(query.digest("digest").is_err() && query.digest("none").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_paths_never_panic(path in "(/v2)?(/[a-z%.:_]{0,9}|/blobs|/uploads|/manifests|/é){0,6}") {
            let _ = Route::parse(&path);
        }
    }
}
