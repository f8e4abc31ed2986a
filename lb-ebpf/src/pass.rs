//! An XDP program that passes every frame: veth wants one on the peer of an interface that
//! transmits from XDP.
#![no_std]
#![no_main]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

lb_ebpf::license!();

/// Passes every frame.
#[xdp]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
