//! Containers for real: as root, on this machine's kernel, in namespaces, cgroups and directories of the tests' own.
//!
//! Each test has an instance of its own and ends it; what an instance leaves behind is a failure. Without root every test says that it is
//! skipped.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod adoption;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod exhaustion;
mod files;
#[cfg(test)]
mod first_process;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod measuring;
#[cfg(test)]
mod network;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod security;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod users;
#[cfg(test)]
mod volumes;
