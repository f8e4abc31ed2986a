//! Tests of lb-userspace against the real kernel, in network namespaces of their own. Needs root.

mod director;
mod netlink;
mod nexthop;
mod realserver;
mod support;
mod tunnel;
