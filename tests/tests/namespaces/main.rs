//! The seed's network in namespaces, with real HTTP and UDP through the kernel. Needs root.

mod attach;
mod bad_input;
mod changes;
mod next_hops;
mod restart;
mod traffic;
mod vip;
