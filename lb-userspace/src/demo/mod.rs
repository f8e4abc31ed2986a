//! `tunlb demo`: the seed's network in namespaces of its own, real requests through it, and proof from the wire.
//!
//! [`topology`] is also what the namespace tests are built on.

pub mod http;
pub mod interrupt;
pub mod seed;
pub mod topology;
pub mod way;
