//! The server as its users see it: a client of this process, raw requests, HTTPS.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod conversion;
#[cfg(test)]
mod crd_rules;
#[cfg(test)]
mod crds;
#[cfg(test)]
mod crud;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod field_validation;
#[cfg(test)]
mod hook_server;
#[cfg(test)]
mod http;
#[cfg(test)]
mod limit_ranges;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod measures;
#[cfg(test)]
mod ownership;
#[cfg(test)]
mod patches;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod watches;
#[cfg(test)]
mod webhooks;
