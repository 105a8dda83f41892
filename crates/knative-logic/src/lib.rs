//! Knative's decisions as pure functions: scale, rollout, traffic, revision garbage, route match, breaker.
