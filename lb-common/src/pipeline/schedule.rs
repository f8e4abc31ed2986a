//! Opening a flow: the service, the scheduler's choice, the flow word.

use super::ipv4::{Choice, FlowPacket, Stop, is_martian, touch};
use crate::{
    flow::{
        FlowHash, FlowKey, FlowSet, FlowState, FlowWord, Place, Segment, WAYS, place, standing,
    },
    hash,
    reason::Reason,
    table::{LookupTable, Method, Slot, Tables, Vip},
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
            // IPVS ends a flow in TIME_WAIT or CLOSE that sees SYN and RST in one.
            if !stale.is_empty() {
                touch(tables, hash, stale, FlowWord::EMPTY);
            }
            return Err(unmatched(tables, flow, Reason::ResetNoFlow, Reason::DropNoFlow));
        }
    };
    if is_martian(flow.header()) {
        return Err(Reason::DropMartian.drop().into());
    }

    let Some(table) = tables.lookup_table(service_index) else {
        return Err(Reason::DropInternal.drop().into());
    };
    let slot = if table.length() == 0 {
        Slot::REFUSE
    } else if table.method() == Method::TURNS {
        Slot::server(PENDING)
    } else {
        by_hash(tables, table, &flow_key)?
    };
    // One way to the answer, which is long, for all ways to find that nobody takes the flow.
    let mut index = T::FlowSet::opaque(u64::from(slot.0)) as u32;
    if Slot(index) == Slot::REFUSE {
        return Err(Stop::Error(IcmpError::PortUnreachable, Reason::NoServer));
    }
    // The place before the turn: that is an atomic counter, at which a CPU waits until the last
    // flow's key is written, in memory that is seldom cached. So that wait comes late.
    let place = free_place(tables, hash, stale, now);
    // Read again: the paths of the verifier met, and are not to know which way they came.
    let table = tables.lookup_table(service_index).unwrap_or_default();
    if table.method() == Method::TURNS {
        let turn = tables.advance(service_index);
        let step = turn.checked_rem(u64::from(table.length())).unwrap_or(0);
        index = lookup(tables, table, step as u32)?.index();
    }
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

/// No real server's index: stands for one that is not chosen yet.
const PENDING: u32 = 1 << 30;

/// What a lookup table, in which userspace has put the scheduler's choices, says of a new flow.
#[inline(always)]
fn by_hash<T: Tables>(tables: &T, table: LookupTable, flow: &FlowKey) -> Result<Slot, Stop> {
    let length = table.length();
    let method = table.method();
    let kind = method.without_port();
    let address = if kind == Method::DESTINATION { flow.destination } else { flow.source };
    let port = if method.has_port() { u32::from(flow.source_port.host()) } else { 0 };
    let sum = u32::from_be_bytes(address.v4_octets()).wrapping_add(port);
    let hash = if kind == Method::MAGLEV { hash::maglev(sum) } else { hash::bucket(sum) };
    let Some(number) = hash.checked_rem(length) else {
        return Ok(Slot::REFUSE);
    };
    let own = lookup(tables, table, number)?;
    if own.is_available() || own == Slot::REFUSE {
        return Ok(own);
    }
    // As ip_vs's `mh-fallback`: the same hash again and again, with something added.
    let mut attempt = 0;
    while attempt < T::FlowSet::opaque(FALLBACK_ATTEMPTS) {
        let added = (number + attempt as u32) % length;
        let slot = lookup(tables, table, hash::maglev(sum.wrapping_add(added)) % length)?;
        if slot.is_available() {
            return Ok(slot);
        }
        attempt += 1;
    }
    Ok(Slot::server(own.index()))
}

#[inline(always)]
fn lookup<T: Tables>(tables: &T, table: LookupTable, number: u32) -> Result<Slot, Stop> {
    tables.lookup(table.offset() + number).map(Slot).ok_or(Reason::DropInternal.drop().into())
}

/// Slots that `mh-fallback` looks at before it takes what userspace has put in place of a server
/// that takes no flows. With half of the servers' weight away, one flow in 2^16 comes that far; ip_vs
/// goes on for as long as the table is.
const FALLBACK_ATTEMPTS: u64 = 16;
