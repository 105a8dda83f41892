//! A gateway that serves every Ingress a moment after it sees it.

use std::time::Duration;

use base_controller::{Context, Key, Scope};
use base_rt::Phase;
use knative_apis::networking::Ingress;
use knative_logic::route_table::ingress_hash;
use knative_serving::GatewayFacts;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

const NAME: &str = "gateway-0";

/// Starts it; the facts know it when this returns.
pub(crate) fn start(context: &Context, facts: &GatewayFacts, seed: u64) {
    facts.join(NAME);
    let ingresses = context.informers.get::<Ingress>(Scope::all());
    // A test: the number of changes is small.
    let (sender, mut receiver) = mpsc::unbounded_channel::<Key>();
    ingresses.subscribe(move |delta| {
        let _ = sender.send(Key::of(&**delta.latest().unwrap()));
    });
    let (facts, shutdown) = (facts.clone(), context.tasks.shutdown().clone());
    let mut random = SmallRng::seed_from_u64(seed ^ 0x6761_7465);
    context.tasks.spawn("gateway", async move {
        loop {
            let key = tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => return Ok(()),
                Some(key) = receiver.recv() => key,
            };
            tokio::time::sleep(Duration::from_millis(random.random_range(1..10))).await;
            let version = ingresses.get(&key).map(|ingress| ingress_hash(&ingress));
            facts.serves(NAME, &key, version.as_deref());
        }
    });
}
