//! Moves requests: gateway, activator, queue-proxy.
