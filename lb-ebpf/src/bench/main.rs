//! What the director is measured against: the loop alone, the least that any such program must do,
//! and the textbook's design. Loaded by benchmarks only; the director itself is measured by a
//! program of its own object.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "BPF has no compare-and-swap in core::sync::atomic")]

#[path = "../director/maps.rs"]
#[expect(dead_code, reason = "shared with the director, which uses all of it")]
mod maps;
mod textbook;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{Packet, bench::Plan, wire::checksum::Sum};
use lb_ebpf::{XdpPacket, bench_loop};

lb_ebpf::license!();

/// The outer header's length in bytes.
const OVERHEAD: i32 = 20;

/// The loop alone: what is subtracted from every other program's time.
#[xdp]
pub fn harness(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, |_| xdp_action::XDP_TX)
}

/// The loop, and the frame's head moved out: the loop moves it back. Half of what it takes more
/// than [`harness`] is what undoing costs.
#[xdp]
pub fn heads(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, |context| {
        // An answer that is not used: a head that did not move shows in the loop's result.
        XdpPacket::new(XdpContext::new(context)).move_head(OVERHEAD);
        xdp_action::XDP_TX
    })
}

/// A program that only answers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
#[inline(never)]
pub fn empty(context: *mut xdp_md) -> u32 {
    let mut address = context as usize;
    // SAFETY: the register is copied to itself. Without it LLVM would leave the call out.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) address, options(nomem, nostack)) };
    if address == 0 { xdp_action::XDP_ABORTED } else { xdp_action::XDP_TX }
}

/// [`empty`] in the loop.
#[xdp]
pub fn bench_empty(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, empty)
}

/// [`empty`] on frames that go out.
#[xdp]
pub fn live_empty(context: XdpContext) -> u32 {
    bench_loop::run_live(context.ctx, empty)
}

/// The floor: wraps whatever comes in the same header.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
#[inline(never)]
pub fn constant(context: *mut xdp_md) -> u32 {
    let mut packet = XdpPacket::new(XdpContext::new(context));
    let wrapped = packet.move_head(OVERHEAD) && packet.store(0, &HEADERS);
    if wrapped { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// From 10.0.0.1 to 10.0.0.2, for a packet of 130 bytes. Nobody reads it.
#[rustfmt::skip]
const HEADERS: [u8; 34] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
    0x45, 0, 0, 150, 0, 0, 0x40, 0, 64, 4, 0x26, 0x51, 10, 0, 0, 1, 10, 0, 0, 2,
];

/// [`constant`] in the loop.
#[xdp]
pub fn bench_floor(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, constant)
}

/// [`constant`] on frames that go out.
#[xdp]
pub fn live_floor(context: XdpContext) -> u32 {
    bench_loop::run_live(context.ctx, constant)
}

/// The director's pipeline over the textbook's flow table. Split into functions like the director, but
/// called one after the other: in each other, they would not fit on the stack.
#[inline(always)]
fn textbook(context: *mut xdp_md) -> u32 {
    match textbook_short_way(context) {
        UNDECIDED => textbook_long_way(context),
        action => action,
    }
}

/// No action.
const UNDECIDED: u32 = u32::MAX;

#[unsafe(no_mangle)]
#[inline(never)]
pub fn textbook_short_way(context: *mut xdp_md) -> u32 {
    let mut packet = XdpPacket::new(XdpContext::new(context));
    let verdict = lb_common::short_way(&mut packet, &textbook::Textbook::new());
    verdict.map_or(UNDECIDED, |verdict| lb_ebpf::action(verdict.action()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn textbook_long_way(context: *mut xdp_md) -> u32 {
    let mut packet = XdpPacket::new(XdpContext::new(context));
    lb_ebpf::action(lb_common::long_way(&mut packet, &textbook::Textbook::new()).action())
}

/// [`textbook`] in the loop.
#[xdp]
pub fn bench_textbook(context: XdpContext) -> u32 {
    bench_loop::run(context.ctx, textbook)
}

/// Sends a flow's packet back out of the interface that it seems to have come in by, as one that a
/// kernel takes for a client's, too: with an IPv4 checksum, and not from port 0. The frame is a
/// [`Plan::LIVE_FRAME`].
#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    bench_loop::run_live(context.ctx, |context| {
        match complete(&mut XdpPacket::new(XdpContext::new(context))) {
            Some(()) => xdp_action::XDP_TX,
            None => xdp_action::XDP_ABORTED,
        }
    })
}

/// Finishes what the loop has begun.
#[inline(always)]
fn complete(packet: &mut XdpPacket) -> Option<()> {
    let header = packet.load::<20>(14)?;
    let (words, _) = header.as_chunks::<4>();
    let sum = words.iter().fold(Sum::ZERO, |sum, word| sum.word32(u32::from_ne_bytes(*word)));
    let [port] = packet.load::<1>(34)?;
    let rest = packet.load::<{ Plan::REST_LENGTH }>(Plan::FRAME)?;
    // The loop has written zero where the checksum belongs.
    let stored = packet.store(24, &sum.checksum().to_ne_bytes())
        && packet.store(34, &[port | 0x80])
        && packet.store(Plan::REST, &rest)
        // Also because a frame that the director has shortened gets its length back only when this
        // program has changed it, too.
        && packet.truncate(Plan::FRAME);
    stored.then_some(())
}

/// Drops every frame: for the far end of a veth.
#[xdp]
pub fn sink(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}
