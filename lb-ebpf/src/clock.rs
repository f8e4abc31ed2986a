//! Tells userspace the time that the director tells flows by: jiffies start at no fixed moment.
#![no_std]
#![no_main]

use aya_ebpf::{Global, macros::xdp, programs::XdpContext};

lb_ebpf::license!();

/// Nanoseconds in a jiffy.
#[unsafe(no_mangle)]
static JIFFY: Global<u64> = Global::new(4_000_000);

/// Answers with the lower 32 bits of the time in ticks.
#[xdp]
pub fn clock(_: XdpContext) -> u32 {
    lb_ebpf::ticks(JIFFY.load()) as u32
}
