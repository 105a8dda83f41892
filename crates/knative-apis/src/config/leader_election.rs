//! config-leader-election: how replicas agree on who works.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use jiff::SignedDuration;
use std::collections::BTreeMap;

const MAX_BUCKETS: u32 = 10;

/// The operator's settings of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// Into how many shares the work is divided, 1 to 10.
    pub buckets: u32,
    /// How long a lease lasts.
    pub lease_duration: SignedDuration,
    /// How long a leader tries to renew it.
    pub renew_deadline: SignedDuration,
    /// How often replicas try.
    pub retry_period: SignedDuration,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            buckets: 1,
            lease_duration: SignedDuration::from_secs(60),
            renew_deadline: SignedDuration::from_secs(40),
            retry_period: SignedDuration::from_secs(10),
        }
    }
}

impl ConfigMap for LeaderElection {
    const NAME: &'static str = "config-leader-election";
    const KEYS: &'static [&'static str] = &[
        "buckets",
        "lease-duration",
        "leaseDuration",
        "renew-deadline",
        "renewDeadline",
        "retry-period",
        "retryPeriod",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let data = Reader(data);
        for key in ["leaseDuration", "lease-duration"] {
            data.duration(key, &mut config.lease_duration)?;
        }
        for key in ["renewDeadline", "renew-deadline"] {
            data.duration(key, &mut config.renew_deadline)?;
        }
        for key in ["retryPeriod", "retry-period"] {
            data.duration(key, &mut config.retry_period)?;
        }
        data.unsigned("buckets", &mut config.buckets)?;
        if !(1..=MAX_BUCKETS).contains(&config.buckets) {
            let message = format!("buckets: value must be between 1 <= {} <= {MAX_BUCKETS}", config.buckets);
            return Err(ConfigError::Invalid(message));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read() {
        let data = BTreeMap::from([("lease-duration".to_owned(), "30s".to_owned())]);
        let config = LeaderElection::parse(&data).expect("leases");
        assert_eq!(config.lease_duration, SignedDuration::from_secs(30));
        let data = BTreeMap::from([("buckets".to_owned(), "11".to_owned())]);
        let error = LeaderElection::parse(&data).expect_err("too many");
        assert_eq!(error.to_string(), "buckets: value must be between 1 <= 11 <= 10");
        let data = BTreeMap::from([("buckets".to_owned(), "-1".to_owned())]);
        let error = LeaderElection::parse(&data).expect_err("negative");
        assert_eq!(error.to_string(), "failed to parse \"buckets\": strconv.ParseUint: parsing \"-1\": invalid syntax");
    }
}
