//! The version of the reviews that webhooks are asked with.

/// `v1` or `v1beta1` of a kind of review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    V1,
    V1Beta1,
}

impl ReviewVersion {
    /// `None` for a version that this server does not speak.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    /// The `apiVersion` of a review of `group`.
    pub(crate) fn api_version(self, group: &str) -> String {
        let version = match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        };
        format!("{group}/{version}")
    }
}
