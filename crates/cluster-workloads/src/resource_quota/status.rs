//! A ResourceQuota's status: what may be used, as it was read from the spec, and what is.

use base_quota::amounts::Amounts;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The status with these amounts used.
pub(super) fn of(quota: &ResourceQuota, used: &Amounts) -> ResourceQuotaStatus {
    let used = used.iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_string())));
    ResourceQuotaStatus { hard: quota.spec.as_ref().and_then(|spec| spec.hard.clone()), used: Some(used.collect()) }
}
