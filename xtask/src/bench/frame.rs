//! The frames that are run: headers, and the plan that the measuring loop makes packets by.

use lb_common::{bench::Plan, table::Interface};
use zerocopy::IntoBytes as _;

use lb_common::MacAddress;

/// How large tables and flow counts are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Bits that are taken off every count.
    less: u32,
}

impl Size {
    /// As the rows are called.
    pub(super) const FULL: Self = Self { less: 0 };
    /// A 64th of that.
    pub(super) const SMALL: Self = Self { less: 6 };

    /// A count of 2^bits, or less.
    pub(super) fn count(self, bits: u32) -> u32 {
        1 << bits.saturating_sub(self.less)
    }
}

/// The director's address on the benchmark's wire.
pub(super) const INTERFACE: Interface = Interface::new(MacAddress([2, 0, 0, 0, 0, 1]));
/// Where its frames come from.
const SENDER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
/// The first VIP, in host byte order: 192.168.19.100.
pub(super) const VIP: u32 = 0xC0A8_1364;
/// The services' port.
pub(super) const PORT: u16 = 80;

/// What the packets of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    Ack,
    Udp,
    /// As `Ack`, to an address that is no VIP.
    Foreign,
    /// A request for an address that is no VIP.
    Arp,
}

/// Which flows the packets are of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flows {
    /// Flows 0 to N-1, N a power of two, picked at random.
    Random(u32),
    /// The same flows one after the other.
    Walk(u32),
    /// Any of 2^40: practically every one is new.
    New,
}

/// Between whom the packets are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) sender: MacAddress,
    pub(super) director: MacAddress,
    /// The first VIP, in host byte order.
    pub(super) vip: u32,
    pub(super) port: u16,
}

impl Ends {
    /// Those on a wire of the benchmark's own.
    pub(super) const BENCH: Self =
        Self { sender: SENDER, director: INTERFACE.mac(), vip: VIP, port: PORT };
}

/// A frame that packets of these flows to the first `vips` VIPs are made in.
pub(super) fn frame(kind: Kind, flows: Flows, vips: u32) -> Vec<u8> {
    frame_between(Ends::BENCH, kind, flows, vips)
}

/// A frame for `bench.o`'s generator of live frames.
pub(super) fn live_frame(ends: Ends, kind: Kind, flows: Flows, vips: u32) -> Vec<u8> {
    let mut frame = frame_between(ends, kind, flows, vips);
    frame.extend_from_within(Plan::REST..Plan::REST + Plan::REST_LENGTH);
    frame
}

fn frame_between(ends: Ends, kind: Kind, flows: Flows, vips: u32) -> Vec<u8> {
    let Ends { sender, director, vip, port } = ends;
    let mut frame = vec![0; Plan::FRAME];
    frame[..6].copy_from_slice(&director.0);
    frame[6..12].copy_from_slice(&sender.0);
    if kind == Kind::Arp {
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        // Who has 192.168.20.1?
        frame[38..42].copy_from_slice(&[192, 168, 20, 1]);
    } else {
        frame[12..14].copy_from_slice(&[8, 0]);
        let protocol = if kind == Kind::Udp { 17 } else { 6 };
        let length = (Plan::FRAME - 14) as u16;
        let [high, low] = length.to_be_bytes();
        frame[14..24].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol]);
        let [high, low] = (length - 20).to_be_bytes();
        match kind {
            Kind::Udp => frame[38..42].copy_from_slice(&[high, low, 0, 0]),
            Kind::Syn => frame[46..48].copy_from_slice(&[0x50, 0x02]),
            _ => frame[46..48].copy_from_slice(&[0x50, 0x10]),
        }
    }
    let (multiplier, increment, mask) = match flows {
        Flows::Random(count) => (Plan::RANDOM, 1, u64::from(count) - 1),
        Flows::Walk(count) => (1, Plan::NEXT, u64::from(count) - 1),
        Flows::New => (Plan::RANDOM, 1, (1 << 40) - 1),
    };
    let plan = Plan {
        state: 0x243F_6A88_85A3_08D3,
        multiplier,
        increment,
        mask,
        vips: u64::from(vips),
        ethernet_0: word(&frame, 0),
        ipv4_0: word(&frame, 14),
        ethernet_8: word(&frame, 8) as u32,
        ipv4_8: word(&frame, 22) as u32,
        vip: if kind == Kind::Foreign { vip + 0x100 } else { vip },
        port,
        ethertype: [frame[12], frame[13]],
    };
    frame[Plan::OFFSET..].copy_from_slice(plan.as_bytes());
    frame
}

/// Eight bytes of a frame as a number that is written back as the same bytes.
fn word(frame: &[u8], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&frame[offset..offset + 8]);
    u64::from_ne_bytes(bytes)
}

/// Makes a frame go on where another one of the same kind has ended.
pub(super) fn resume(frame: &mut [u8], ended: &[u8]) {
    let state = |frame: &[u8]| word(frame, Plan::OFFSET);
    let next = state(ended);
    frame[Plan::OFFSET..Plan::OFFSET + 8].copy_from_slice(&next.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_resumes_with_the_state_of_another() {
        let mut first = frame(Kind::Ack, Flows::Random(64), 1);
        let mut ended = first.clone();
        ended[Plan::OFFSET] ^= 1;
        resume(&mut first, &ended);
        assert_eq!(first, ended);
    }

    #[test]
    fn a_live_frame_keeps_a_copy_of_what_the_director_may_change() {
        let frame = live_frame(Ends::BENCH, Kind::Syn, Flows::New, 1);
        assert_eq!(frame.len(), 152);
        assert_eq!(frame[16..18], 122_u16.to_be_bytes(), "the IPv4 packet ends before the copy");
        assert_eq!(frame[136..152], frame[38..54]);
        assert_eq!(frame[136 + 9], 2, "a SYN's flags");
    }

    #[test]
    fn counts_shrink_but_never_to_nothing() {
        assert_eq!(Size::FULL.count(16), 65_536);
        assert_eq!(Size::SMALL.count(16), 1024);
        assert_eq!(Size::SMALL.count(0), 1);
    }
}
