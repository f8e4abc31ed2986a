//! The seed's network in namespaces, with real HTTP and UDP through the kernel. Needs root; says so
//! and passes without.

mod changes;
mod restart;
mod traffic;
