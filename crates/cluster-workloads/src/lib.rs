//! What a cluster does under the API.

pub mod deployment;
pub mod endpoints;
mod objects;
pub mod replica_set;
pub mod scheduler;
#[cfg(test)]
mod testing;
