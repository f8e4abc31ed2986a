//! The real server's program: unwraps IPIP where the kernel has no ipip.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    Address, Addresses, Reason,
    table::{REASONS as REASON_SLOTS, Vip},
};
use lb_ebpf::XdpPacket;

lb_ebpf::license!();

/// The host's addresses and its VIPs.
#[map]
static VIPS: HashMap<Address, Vip> = HashMap::pinned(1024, 0);

/// Packets per reason and CPU.
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_SLOTS, 0);

struct Maps;

impl Addresses for Maps {
    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        // SAFETY: the value is one word; userspace replaces it as a whole.
        unsafe { VIPS.get(address) }.copied()
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
            // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
            unsafe { *count += 1 };
        }
    }
}

/// Unwraps what is for this host's VIPs, passes everything else.
#[xdp]
pub fn realserver(context: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(context);
    let verdict = lb_common::unwrap(&mut packet, &Maps);
    lb_ebpf::action(verdict.action())
}
