//! Opening a flow: the service, the scheduler's choice, the flow word.

use super::ipv4::{Choice, FlowPacket, Stop};
use crate::{
    flow::{FlowSet, FlowState, FlowWord, Place, Segment, WAYS, place},
    reason::{Reason, Verdict},
    table::{Tables, Vip},
    wire::{icmp::IcmpError, ipv4},
};

/// Chooses a real server for the flow's first packet and records the choice. `stale` is the place
/// of a word that the flow's tag found but that is of no use any more.
#[inline(always)]
pub(super) fn open<'t, T: Tables>(
    tables: &'t T,
    flow: &FlowPacket,
    tag: u32,
    sets: [u32; 2],
    [first, second]: [&T::FlowSet; 2],
    stale: Option<Place>,
    now: u64,
) -> Result<Choice<'t>, Stop> {
    let key = flow.key.service();
    let Some(service_index) = tables.service_index(&key) else {
        return Err(unmatched(tables, flow, Reason::DropNoService).into());
    };
    let state = match flow.segment {
        None => FlowState::UDP,
        Some(Segment::Syn) => FlowState::SYN_RECV,
        Some(_) => return Err(unmatched(tables, flow, Reason::DropNoFlow).into()),
    };
    let source = flow.key.source;
    if ipv4::is_martian(source.v4_octets()) || source == flow.key.destination {
        return Err(Reason::DropMartian.drop().into());
    }

    let index = round_robin(tables, service_index)?;
    let real_server = tables.real_server(index).filter(|server| server.service == key);
    let Some(real_server) = real_server else {
        // The lookup table was being replaced.
        return Err(Reason::DropContended.drop().into());
    };

    let place = match stale {
        Some(place) => Some(place),
        None => place(first, second, now),
    };
    let Some(place) = place else {
        return Err(Reason::DropContended.drop().into());
    };
    let set = if place.set == 0 { first } else { second };
    let word = FlowWord::new(tag, index as u16, state, now);
    if !set.replace(place.way, place.old, word) {
        return Err(Reason::DropContended.drop().into());
    }
    let set_index = if place.set == 0 { sets[0] } else { sets[1] };
    tables.store_flow_key(set_index * WAYS as u32 + place.way as u32, &flow.key);
    Ok(Choice { index, real_server, new_flow: true })
}

/// A packet for a VIP that no service or flow takes: the kernel's business where the address is
/// the director's own.
#[inline(always)]
fn unmatched<T: Tables>(tables: &T, flow: &FlowPacket, owned: Reason) -> Verdict {
    match tables.vip(&flow.key.destination) {
        Some(Vip::OWNED) => owned.drop(),
        Some(_) => Reason::PassLocalVip.pass(),
        None => Reason::PassNotVip.pass(),
    }
}

/// Walks the service's lookup table, in which userspace has interleaved the weights.
#[inline(always)]
fn round_robin<T: Tables>(tables: &T, service_index: u32) -> Result<u32, Stop> {
    let Some(service) = tables.service(service_index) else {
        return Err(Reason::DropInternal.drop().into());
    };
    let table = service.table;
    let length = table.length();
    if length == 0 {
        return Err(Stop::Error(IcmpError::PortUnreachable, Reason::NoServer));
    }
    let step = tables.advance(service_index) % u64::from(length);
    let slot = table.offset() + step as u32;
    tables.lookup(slot).ok_or(Reason::DropInternal.drop().into())
}
