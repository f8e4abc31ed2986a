//! What the XDP programs share: the frame under way, and the counters of outcomes.
//!
//! Not for: deciding anything. That is lb-common's; here is only fetching and storing.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod bench_loop;
mod xdp;

use aya_ebpf::helpers::generated::bpf_jiffies64;
use lb_common::flow::TICK_NANOSECONDS;
pub use xdp::{XdpPacket, action};

/// The time in ticks, from the kernel's jiffies of `jiffy` nanoseconds: a load, where every clock in
/// nanoseconds is a call within a call, which costs 20 ns where returns are guarded.
#[inline(always)]
pub fn ticks(jiffy: u64) -> u64 {
    // SAFETY: the helper takes nothing and gives a number.
    let jiffies = unsafe { bpf_jiffies64() };
    jiffies.wrapping_mul(jiffy) / TICK_NANOSECONDS
}

/// The licence that the kernel reads before it lets a program call GPL-only helpers.
#[macro_export]
macro_rules! license {
    () => {
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "license")]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

        #[cfg(target_arch = "bpf")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            // No panic is reachable: the verifier would reject this endless loop.
            loop {}
        }
    };
}
