//! The director daemon, the command line and the real server set-up, as a library; the binary is a thin main.

pub mod config;
pub mod netlink;
pub mod nexthop;
pub mod plan;
pub mod store;
pub mod sysctl;
pub mod tables;
