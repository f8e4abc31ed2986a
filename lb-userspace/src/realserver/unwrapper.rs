//! What an XDP program that unwraps has to offer; the BPF module implements it.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// Why an unwrapping program could not be attached, read or detached.
pub type UnwrapError = Box<dyn std::error::Error + Send + Sync>;

/// An unwrapping program at work on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapping {
    /// The VIPs that it unwraps for.
    pub vips: BTreeSet<Ipv4Addr>,
    /// Whether it runs in generic mode, after the kernel has built its own packet.
    pub generic: bool,
}

/// Attaches the program that takes the outer IPv4 header off and hands the inner packet to the stack.
///
/// The program stays attached when the process ends.
pub trait Unwrapper: Send + Sync {
    /// Attaches it to `interface` for exactly these VIPs, or changes the VIPs and mode of the one attached. Either all is
    /// done or nothing has changed.
    fn attach(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
        generic: bool,
    ) -> Result<(), UnwrapError>;

    /// What is at work on `interface`, if anything of ours is.
    fn status(&self, interface: &str) -> Result<Option<Unwrapping>, UnwrapError>;

    /// Detaches it from `interface`; no error if it is not attached.
    fn detach(&self, interface: &str) -> Result<(), UnwrapError>;
}
