//! The workshop for HTTP: listeners, TLS, the connector, upstream pools, bodies, probes, the admin endpoint.
