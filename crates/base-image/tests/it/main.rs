//! The crate as its users see it: pushing, pulling and serving over real connections on loopback, alone and with other tools.

#[cfg(test)]
mod client;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod foreign_tools;
#[cfg(test)]
mod pulling;
#[cfg(test)]
mod support;
