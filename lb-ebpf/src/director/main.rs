//! The director's program: lb-common's pipeline over XDP and BPF maps.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "BPF has no compare-and-swap in core::sync::atomic")]

mod maps;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use lb_ebpf::{XdpPacket, bench_loop};

lb_ebpf::license!();

/// Balances what is for a VIP, passes everything else.
#[xdp]
pub fn director(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(context);
    let verdict = lb_common::director(&mut packet, &maps::Maps);
    // Dead code to the verifier unless the log level was raised at load.
    debug!(
        packet.context(),
        "interface {} reason {}",
        packet.context().ingress_ifindex() as u32,
        verdict.reason as u32
    );
    lb_ebpf::action(verdict.action())
}

/// Runs [`director`] again and again. Only a benchmark loads it; it is here so that what is measured
/// are the very instructions that run in production.
#[xdp]
pub fn bench(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, director)
}

/// As [`bench`], for frames that go out.
#[xdp]
pub fn bench_live(context: XdpContext) -> u32 {
    bench_loop::run_live(context.ctx, director)
}
