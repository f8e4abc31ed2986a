//! The director daemon, the command line and the real server set-up, as a library; the binary is a
//! thin main.

pub mod bpf;
pub mod config;
pub mod netlink;
pub mod nexthop;
pub mod plan;
pub mod realserver;
pub mod store;
pub mod sys;
pub mod sysctl;
pub mod tables;
