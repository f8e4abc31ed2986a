//! The loop in which a benchmark runs a program: make a flow's packet, run, undo.
//!
//! Not for: anything that is loaded outside of a benchmark.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::bpf_get_prandom_u32,
    programs::XdpContext,
};
use lb_common::{Packet, bench::Plan};

use crate::XdpPacket;

/// Packets in one run of the loop: the kernel tells a run's time in whole nanoseconds.
pub const PACKETS: u32 = 8;

/// Runs a program on [`PACKETS`] packets, one after the other in the same frame. What it answers to
/// the last one is the answer.
#[inline(always)]
pub fn run(context: *mut xdp_md, program: impl Fn(*mut xdp_md) -> u32) -> u32 {
    let mut packet = XdpPacket::new(XdpContext::new(context));
    let mut answer = xdp_action::XDP_ABORTED;
    let mut left = PACKETS;
    while left > 0 {
        if !prepare(&packet, 0) {
            return xdp_action::XDP_ABORTED;
        }
        answer = program(context);
        let growth = packet.len() as i32 - Plan::FRAME as i32;
        if growth != 0 && !packet.move_head(-growth) {
            return xdp_action::XDP_ABORTED;
        }
        left -= 1;
    }
    answer
}

/// Makes one packet and leaves it to a program, in a frame that goes out for good.
///
/// The generator's state is the frame's, and many frames are under way: without another source of
/// randomness all would pick the same flow in turn.
#[inline(always)]
pub fn run_live(context: *mut xdp_md, program: impl Fn(*mut xdp_md) -> u32) -> u32 {
    let packet = XdpPacket::new(XdpContext::new(context));
    // SAFETY: the helper takes nothing and gives a number.
    let random = unsafe { bpf_get_prandom_u32() };
    if prepare(&packet, u64::from(random) << Plan::SHIFT) {
        program(context)
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// Writes the next packet's headers into the frame, which has the length of one with a plan.
///
/// Every store is at least as wide as what a program would load from there, and starts where a
/// header field starts: a load that spans two recent stores would wait for both to leave the CPU's
/// store buffer, which no packet from a network card makes it do.
#[inline(always)]
fn prepare(packet: &XdpPacket, random: u64) -> bool {
    let Some(frame) = packet.at::<{ Plan::FRAME }>(0) else {
        return false;
    };
    let frame = frame.cast::<u8>();
    // SAFETY: `at` has checked that all of the frame's bytes are there, and every offset below is
    // inside of it. Unaligned, because a frame is bytes.
    unsafe {
        let place = frame.add(Plan::OFFSET).cast::<Plan>();
        let mut plan = place.read_unaligned();
        plan.state ^= random;
        let flow = plan.next_flow();
        (&raw mut (*place).state).write_unaligned(plan.state);

        frame.cast::<u64>().write_unaligned(plan.ethernet_0);
        frame.add(8).cast::<u32>().write_unaligned(plan.ethernet_8);
        frame.add(12).cast::<[u8; 2]>().write_unaligned(plan.ethertype);
        frame.add(14).cast::<u64>().write_unaligned(plan.ipv4_0);
        frame.add(22).cast::<u32>().write_unaligned(plan.ipv4_8);
        let addresses = u64::from(Plan::source(flow)) << 32 | u64::from(plan.destination(flow));
        frame.add(26).cast::<u64>().write_unaligned(addresses.to_be());
        let ports = u32::from(Plan::source_port(flow)) << 16 | u32::from(plan.port);
        frame.add(34).cast::<u32>().write_unaligned(ports.to_be());
    }
    true
}
