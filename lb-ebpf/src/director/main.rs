//! The director's program: lb-common's pipeline over XDP and BPF maps.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "BPF has no compare-and-swap in core::sync::atomic")]

mod maps;

use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use lb_ebpf::{XdpPacket, bench_loop};

lb_ebpf::license!();

/// Balances what is for a VIP, passes everything else.
#[xdp]
pub fn director(context: XdpContext) -> u32 {
    balance(context.ctx)
}

#[inline(always)]
fn balance(context: *mut xdp_md) -> u32 {
    // Known to the verifier, which removes the test. The long way logs, and is a way for every frame.
    if !level_enabled(Level::Debug) {
        let mut packet = XdpPacket::new(XdpContext::new(context));
        if let Some(verdict) = lb_common::short_way(&mut packet, &maps::Maps) {
            return lb_ebpf::action(verdict.action());
        }
    }
    long_way(context)
}

/// What becomes of the frames that cannot be told at a glance: a function of its own, so that its many
/// variables take no registers from the few of the others' way. Global, to be verified once.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn long_way(context: *mut xdp_md) -> u32 {
    let mut packet = XdpPacket::new(XdpContext::new(context));
    let verdict = lb_common::long_way(&mut packet, &maps::Maps);
    debug!(
        packet.context(),
        "interface {} reason {}",
        packet.context().ingress_ifindex() as u32,
        verdict.reason as u32
    );
    lb_ebpf::action(verdict.action())
}

/// [`director`] as a function that a program can call. (If it were the program itself, aya-obj 0.3,
/// which links programs in random order, would now and then link `long_way` into it twice.)
#[unsafe(no_mangle)]
#[inline(never)]
pub fn callable(context: *mut xdp_md) -> u32 {
    balance(context)
}

/// Runs [`director`] again and again. Only a benchmark loads it; it is here so that what is measured
/// is what runs in production.
#[xdp]
pub fn bench(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, callable)
}

/// As [`bench`], for frames that go out.
#[xdp]
pub fn bench_live(context: XdpContext) -> u32 {
    bench_loop::run_live(context.ctx, callable)
}
