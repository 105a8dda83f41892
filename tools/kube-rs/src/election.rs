//! Who leads is written in a Lease, whose version decides between those who want to.

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::{Ground, NAMESPACE, refused};

const CANDIDATES: usize = 8;

/// Of those who want a free Lease at once one gets it; when it lets go, another does.
pub async fn elect(on: &Ground) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(on.client.clone(), NAMESPACE);
    let lease = json!({"metadata": {"name": "leader"}, "spec": {"leaseDurationSeconds": 15}});
    let mut free = leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    for round in 1..=3 {
        let taken = (0..CANDIDATES).map(|number| {
            let mut mine = free.clone();
            let spec = mine.spec.get_or_insert_default();
            spec.holder_identity = Some(format!("candidate-{number}"));
            spec.lease_transitions = Some(round);
            let leases = leases.clone();
            async move { leases.replace("leader", &PostParams::default(), &mine).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) = futures::future::join_all(taken).await.into_iter().partition(Result::is_ok);
        ensure!(lost.len() == CANDIDATES - 1, "{} won in round {round}", won.len());
        ensure!(lost.into_iter().all(|outcome| refused(outcome) == Some(409)));
        for held in won {
            let mut held = held?;
            ensure!(leases.get("leader").await?.spec == held.spec);
            held.spec.get_or_insert_default().holder_identity = None;
            free = leases.replace("leader", &PostParams::default(), &held).await?;
        }
    }
    leases.delete("leader", &DeleteParams::default()).await?;
    Ok(())
}
