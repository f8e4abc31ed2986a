//! Everything that the kernel side and the userspace side of tunlb must agree on: the packet
//! pipeline, the types in maps and the names of every verdict.
//!
//! Not for: reading maps, sockets or clocks. The pipeline reaches those through [`Packet`] and
//! [`Tables`], which `lb-ebpf` implements over XDP and BPF maps and [`memory`] over ordinary memory.
#![cfg_attr(not(any(test, feature = "memory")), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod bench;
pub mod flow;
pub mod hash;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod packet;
pub mod pipeline;
pub mod reason;
pub mod table;
pub mod wire;

pub use address::{Address, Be16, MacAddress};
pub use packet::Packet;
pub use pipeline::{director, long_way, short_way, unwrap};
pub use reason::{Action, Reason, Verdict};
pub use table::{Addresses, Tables};
