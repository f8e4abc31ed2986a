//! The director daemon, the command line and the real server set-up, as a library; the binary is a
//! thin main.

pub mod api;
pub mod bpf;
pub mod capture;
pub mod census;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod netlink;
pub mod netns;
pub mod nexthop;
pub mod plan;
pub mod realserver;
pub mod store;
pub mod sys;
pub mod sysctl;
pub mod tables;
