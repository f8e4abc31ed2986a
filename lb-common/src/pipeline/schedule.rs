//! Opening a flow: the service, the scheduler's choice, the flow word.

use super::ipv4::{Choice, FlowPacket, Stop, is_martian, touch};
use crate::{
    flow::{FlowHash, FlowSet, FlowState, FlowWord, Place, Segment, WAYS, place, standing},
    reason::Reason,
    table::{Tables, Vip},
    wire::icmp::IcmpError,
};

/// Chooses a real server for the flow's first packet and records the choice. `stale` is the word of
/// an earlier flow with the same key, which has ended, or empty.
#[inline(always)]
pub(super) fn open<'t, T: Tables>(
    tables: &'t T,
    flow: &FlowPacket,
    hash: FlowHash,
    stale: FlowWord,
    now: u64,
) -> Result<Choice<'t>, Stop> {
    let flow_key = flow.key();
    let key = flow_key.service();
    let Some(service_index) = tables.service_index(&key) else {
        return Err(unmatched(tables, flow, Reason::ResetNoService, Reason::DropNoService));
    };
    let state = match flow.segment() {
        None => FlowState::UDP_FIRST,
        Some(Segment::Syn) => FlowState::SYN_RECV,
        Some(_) => {
            if !stale.is_empty() {
                // What is over when a packet comes that opens nothing is forgotten.
                touch(tables, hash, stale, FlowWord::EMPTY);
            }
            return Err(unmatched(tables, flow, Reason::ResetNoFlow, Reason::DropNoFlow));
        }
    };
    if is_martian(flow.header()) {
        return Err(Reason::DropMartian.drop().into());
    }

    // The place before the choice: choosing advances an atomic counter, at which a CPU waits until the
    // last flow's key is written, in memory that is seldom cached. So that wait comes late.
    let place = free_place(tables, hash, stale, now);
    let index = round_robin(tables, service_index)?;
    let real_server = tables.real_server(index).filter(|server| server.service == key);
    let Some(real_server) = real_server else {
        // The lookup table was being replaced.
        return Err(Reason::DropContended.drop().into());
    };
    let word = FlowWord::new(hash.tag(), index as u16, state, now);
    let Some(slot) = insert(tables, hash, place, word) else {
        return Err(Reason::DropContended.drop().into());
    };
    tables.store_flow_key(slot, &flow_key);
    tables.count_flow(index);
    Ok(Choice { index, real_server, new_flow: true })
}

/// Where a new flow goes: to the stale word of its own, or where it displaces least. `None` when another CPU was faster.
#[inline(always)]
fn free_place<T: Tables>(tables: &T, hash: FlowHash, stale: FlowWord, now: u64) -> Option<Place> {
    let [first, second] = hash.sets(tables.set_mask());
    let sets = [tables.flow_set(first)?, tables.flow_set(second)?];
    if stale.is_empty() { place(&sets, hash.way(), now) } else { standing(&sets, stale) }
}

/// Puts a new flow's word into its place; the slot it got, or `None` when another CPU was faster.
#[inline(always)]
fn insert<T: Tables>(
    tables: &T,
    hash: FlowHash,
    place: Option<Place>,
    word: FlowWord,
) -> Option<u32> {
    let Place { set, way, old } = place?;
    let number = hash.sets(tables.set_mask())[set & 1];
    let set = tables.flow_set(number)?;
    set.replace(way, old, word).then_some(number * WAYS as u32 + way as u32)
}

/// A packet for a VIP that no service or flow takes: the kernel's business where the address is the
/// director's own, else answered as a kernel would; a reset is not answered, but dropped.
#[inline(always)]
fn unmatched<T: Tables>(tables: &T, flow: &FlowPacket, reset: Reason, dropped: Reason) -> Stop {
    let key = flow.key();
    // Not in one match: LLVM would look at the kind of a VIP that is not there.
    let Some(vip) = tables.vip(&key.destination) else {
        return Reason::PassNotVip.pass().into();
    };
    if vip != Vip::OWNED {
        return Reason::PassLocalVip.pass().into();
    }
    if is_martian(flow.header()) {
        return Reason::DropMartian.drop().into();
    }
    match flow.segment() {
        None => Stop::Error(IcmpError::PortUnreachable, Reason::PortUnreachable),
        Some(Segment::Reset) => dropped.drop().into(),
        Some(_) => Stop::Reset(reset),
    }
}

/// Walks the service's lookup table, in which userspace has interleaved the weights.
#[inline(always)]
fn round_robin<T: Tables>(tables: &T, service_index: u32) -> Result<u32, Stop> {
    let Some(table) = tables.lookup_table(service_index) else {
        return Err(Reason::DropInternal.drop().into());
    };
    let length = table.length();
    if length == 0 {
        return Err(Stop::Error(IcmpError::PortUnreachable, Reason::NoServer));
    }
    let step = tables.advance(service_index) % u64::from(length);
    let slot = table.offset() + step as u32;
    tables.lookup(slot).ok_or(Reason::DropInternal.drop().into())
}
