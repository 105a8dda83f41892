//! Platforms: what an image was built for, and which of an index's manifests fits this machine.
//!
//! Names are Go's (`amd64`, `arm64`), as image-spec demands. A container here always runs Linux on the machine's own architecture.
//! Among fitting variants the highest one that the machine runs wins (`arm/v7` over `arm/v6`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::manifest::Descriptor;

/// An operating system and an architecture, as in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Go's GOARCH.
    #[serde(default)]
    pub architecture: String,
    /// Go's GOOS.
    #[serde(default)]
    pub os: String,
    /// The architecture's variant (`v7`), or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// No manifest of an index fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image is for {}, this machine runs {wanted}", list(.available))]
pub struct WrongPlatform {
    /// What was looked for.
    pub wanted: Platform,
    /// What there is.
    pub available: Vec<Platform>,
}

impl Platform {
    /// Linux on the architecture that this process was compiled for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        let variant = if architecture == "arm" { "v7" } else { "" };
        Self { architecture: architecture.into(), os: "linux".into(), variant: variant.into() }
    }

    /// Whether a machine of platform `self` runs an image of platform `image`. An image that says nothing is taken at its word.
    pub fn runs(&self, image: &Self) -> bool {
        let agrees = |mine: &str, its: &str| its.is_empty() || mine == its;
        let fits = agrees(&self.os, &image.os) && agrees(&self.architecture, &image.architecture);
        fits && image.variant_rank() <= self.variant_rank()
    }

    /// `Ok` when [`runs`](Self::runs).
    ///
    /// # Errors
    /// [`WrongPlatform`], naming both.
    pub fn check(&self, image: &Self) -> Result<(), WrongPlatform> {
        if self.runs(image) {
            return Ok(());
        }
        Err(WrongPlatform { wanted: self.clone(), available: vec![image.clone()] })
    }

    /// The best of an index's manifests for a machine of platform `self`.
    ///
    /// # Errors
    /// [`WrongPlatform`], naming what there is.
    pub fn select<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a Descriptor, WrongPlatform> {
        let candidates = manifests.iter().filter(|manifest| !is_attestation(manifest));
        let rank = |manifest: &Descriptor| manifest.platform.as_ref().map_or(0, Self::variant_rank);
        // The first of equals, as every other client chooses; `max_by_key` alone would take the last.
        let best = candidates
            .clone()
            .filter(|manifest| manifest.platform.as_ref().is_none_or(|platform| self.runs(platform)))
            .rev()
            .max_by_key(|manifest| rank(manifest));
        best.ok_or_else(|| {
            let mut available: Vec<_> = candidates.filter_map(|manifest| manifest.platform.clone()).collect();
            available.sort();
            available.dedup();
            WrongPlatform { wanted: self.clone(), available }
        })
    }

    /// The variant's number. Unset is the architecture's baseline: `v7` for arm, `v8` for arm64, `v1` for amd64.
    fn variant_rank(&self) -> u32 {
        let baseline = match self.architecture.as_str() {
            "arm" => 7,
            "arm64" => 8,
            "amd64" => 1,
            _ => 0,
        };
        self.variant.strip_prefix('v').and_then(|number| number.parse().ok()).unwrap_or(baseline)
    }
}

/// Builders attach provenance as manifests of the platform `unknown/unknown`.
fn is_attestation(manifest: &Descriptor) -> bool {
    manifest.platform.as_ref().is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_any = |text: &str| if text.is_empty() { "any".to_owned() } else { text.to_owned() };
        write!(f, "{}/{}", or_any(&self.os), or_any(&self.architecture))?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform at all".into();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let os = next();
        Platform { os, architecture: next(), variant: next() }
    }

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let descriptor = |text: &&str| Descriptor {
            platform: (!text.is_empty()).then(|| platform(text)),
            ..Descriptor::new("", Digest::of(text.as_bytes()), 1)
        };
        platforms.iter().map(descriptor).collect()
    }

    #[test]
    fn the_machine_s_own_is_selected() {
        let manifests = index(&["unknown/unknown", "windows/amd64", "linux/arm64/v8", "linux/amd64", "linux/amd64"]);
        for (machine, place) in [("linux/amd64", 3), ("linux/arm64", 2)] {
            assert!(std::ptr::eq(platform(machine).select(&manifests).unwrap(), &manifests[place]), "{machine}");
        }
    }

    #[test]
    fn the_highest_variant_that_runs_wins() {
        let manifests = index(&["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"]);
        assert_eq!(platform("linux/arm/v7").select(&manifests).unwrap().digest, manifests[1].digest);
        assert_eq!(platform("linux/arm/v6").select(&manifests).unwrap().digest, manifests[2].digest);
        assert!(platform("linux/amd64").select(&index(&["linux/amd64/v3"])).is_err());
    }

    #[test]
    fn nothing_fitting_names_what_there_is() {
        let manifests = index(&["unknown/unknown", "linux/arm64/v8", "windows/amd64"]);
        let error = platform("linux/amd64").select(&manifests).unwrap_err();
        assert_eq!(error.to_string(), "the image is for windows/amd64, linux/arm64/v8, this machine runs linux/amd64");
        assert!(platform("linux/amd64").select(&[]).unwrap_err().to_string().contains("no platform at all"));
    }

    #[test]
    fn an_image_that_says_nothing_runs() {
        assert!(Platform::host().runs(&Platform::default()));
        assert!(!Platform::host().runs(&platform("plan9/amd64")));
    }
}
