//! The one userspace module with `unsafe`: what neither std nor a crate offers safely.
#![expect(
    unsafe_code,
    reason = "shared mappings of BPF maps, detaching links and socket options have no safe crate"
)]

mod ethtool;
mod link;
mod mapping;

pub use ethtool::{Offload, switch_offload};
pub use link::LinkHandle;
pub use mapping::SharedWords;
