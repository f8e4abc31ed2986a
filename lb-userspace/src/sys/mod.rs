//! The one userspace module with `unsafe`: what neither std nor a crate offers safely.
#![expect(
    unsafe_code,
    reason = "shared mappings of BPF maps and socket options have no safe crate"
)]

mod ethtool;
mod mapping;

pub use ethtool::{Offload, switch_offload};
pub use mapping::SharedWords;
