//! The gatehouse: how the two houses are put together, for the binary and for whoever tests them as a whole.
//!
//! What this crate knows: both houses, and what each needs of the other. **What it must not know**: what either does inside.
//!
//! Where to start: [`assembly`].

pub mod assembly;
