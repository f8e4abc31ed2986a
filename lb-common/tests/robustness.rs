//! Whatever comes in, the pipeline ends with one verdict, and touches what it passes not at all.

mod common;

use common::{DNS, HTTP, SYN, datagram, direct, frame, header, packet, segment, tables};
use etherparse::{IpNumber, Ipv4HeaderSlice, NetSlice, SlicedPacket};
use lb_common::{
    Action, Address, Reason,
    memory::{MemoryPacket, MemoryTables},
    table::Vip,
    unwrap,
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Frames near valid ones: some bytes changed, some cut off or added.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let syn = segment(common::CLIENT, 1, HTTP, SYN);
    let tagged = frame(&syn[14..], &[(0x8100, 5)]);
    let twice = frame(&syn[14..], &[(0x88a8, 5), (0x8100, 6)]);
    let query = datagram(common::CLIENT, 1, DNS);
    let echo = frame(&packet(header(IpNumber::ICMP), b"\x08\0\xf7\xff\0\0\0\0ping"), &[]);
    let mut tunnel = header(IpNumber::IPV4);
    tunnel.destination = TUNNEL_END;
    let tunnel = frame(&packet(tunnel, &syn[14..]), &[]);
    let mut arp = frame(&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0x19, 1, 192, 168, 19, 1], &[]);
    arp[12..14].copy_from_slice(&[8, 6]);
    arp.extend([0; 6]);
    arp.extend(common::VIP);
    let long = {
        let mut header = header(IpNumber::TCP);
        header.dont_fragment = true;
        frame(&packet(header, &common::tcp(1, HTTP, SYN, &[7; 1460])), &[])
    };
    let frames = vec![syn, tagged, twice, query, echo, tunnel, arp, long];
    // Changes fall into the headers more often than not.
    let changes = vec((prop_oneof![3 => 12usize..74, 1 => 0usize..1600], any::<u8>()), 0..6);
    let cut = proptest::option::weighted(0.3, any::<Index>());
    (proptest::sample::select(frames), changes, cut, vec(any::<u8>(), 0..8)).prop_map(
        |(mut frame, changes, cut, tail)| {
            for (position, value) in changes {
                if let Some(byte) = frame.get_mut(position) {
                    *byte = value;
                }
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len() + 1));
            }
            frame.extend(tail);
            frame
        },
    )
}

const TUNNEL_END: [u8; 4] = [192, 168, 19, 2];

fn counted(tables: &MemoryTables) -> Vec<Reason> {
    let counts = Reason::ALL.iter().map(|&reason| (reason, tables.counted(reason)));
    counts.flat_map(|(reason, times)| vec![reason; times as usize]).collect()
}

/// What must hold for every frame through the director.
fn check_director(frame: &[u8]) -> Result<(), TestCaseError> {
    let tables = tables(4);
    let (verdict, out) = direct(&tables, frame);
    let (action, reason) = (verdict.action(), verdict.reason);
    prop_assert_eq!(counted(&tables), vec![reason]);
    prop_assert_ne!(reason, Reason::DropInternal);
    prop_assert_ne!(reason, Reason::DropHeadroom);
    prop_assert_ne!(reason, Reason::DropContended);
    let label = reason.label();
    match action {
        Action::Pass => {
            prop_assert!(label.starts_with("pass-"), "{label}");
            prop_assert_eq!(out, frame);
        }
        Action::Drop => prop_assert!(label.starts_with("drop-"), "{label}"),
        Action::Transmit => {
            prop_assert!(!label.starts_with("pass-") && !label.starts_with("drop-"), "{label}");
            prop_assert!(out.len() <= frame.len() + 28);
            // Echo replies keep a wrong checksum wrong, and ARP has none.
            if reason != Reason::EchoAnswered && reason != Reason::ArpAnswered {
                let parsed = SlicedPacket::from_ethernet(&out).expect("a frame");
                let Some(NetSlice::Ipv4(ip)) = parsed.net else { panic!("{:?}", parsed.net) };
                let header = ip.header();
                let right = header.to_header().calc_header_checksum();
                prop_assert_eq!(header.header_checksum(), right);
            }
        }
        Action::Redirect(_) => prop_assert!(false, "nothing is behind another interface"),
    }
    Ok(())
}

/// What must hold for every frame through a real server's program.
fn check_unwrap(frame: &[u8]) -> Result<(), TestCaseError> {
    let mut tables = MemoryTables::new(1, common::SEED, 0);
    tables.vips.insert(Address::v4(TUNNEL_END), Vip::TUNNEL_END);
    tables.vips.insert(Address::v4(common::VIP), Vip::SERVED);
    let mut packet = MemoryPacket::new(frame, 1);
    let verdict = unwrap(&mut packet, &&tables);
    prop_assert_eq!(counted(&tables), vec![verdict.reason]);
    match verdict.reason {
        Reason::PassNotTunnel => {
            prop_assert_eq!(verdict.action(), Action::Pass);
            prop_assert_eq!(packet.frame(), frame);
        }
        Reason::Unwrapped => {
            prop_assert_eq!(verdict.action(), Action::Pass);
            prop_assert!(packet.frame().len() + 20 <= frame.len());
            let parsed = SlicedPacket::from_ethernet(packet.frame());
            // Its header is whole; what is in it is the stack's to judge.
            if let Ok(SlicedPacket { net: Some(NetSlice::Ipv4(ip)), .. }) = parsed {
                prop_assert_eq!(ip.header().destination(), common::VIP);
            }
        }
        other => prop_assert_eq!(other, Reason::DropInner),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 4096 }, ..ProptestConfig::default() })]

    #[test]
    fn director_survives_arbitrary_bytes(frame in vec(any::<u8>(), 0..120)) {
        check_director(&frame)?;
    }

    #[test]
    fn director_survives_mutated_frames(frame in mutated()) {
        check_director(&frame)?;
    }

    #[test]
    fn unwrap_survives_arbitrary_bytes(frame in vec(any::<u8>(), 0..120)) {
        check_unwrap(&frame)?;
    }

    #[test]
    fn unwrap_survives_mutated_frames(frame in mutated()) {
        check_unwrap(&frame)?;
    }
}

#[test]
fn unwrap_undoes_what_the_director_did() {
    let tables = tables(16);
    for input in [segment(common::CLIENT, 1, HTTP, SYN), datagram(common::CLIENT, 1, DNS)] {
        let (_, tunnelled) = direct(&tables, &input);
        let outer = Ipv4HeaderSlice::from_slice(&tunnelled[14..]).expect("an outer header");
        let mut end = MemoryTables::new(1, common::SEED, 0);
        end.vips.insert(Address::v4(outer.destination()), Vip::TUNNEL_END);
        end.vips.insert(Address::v4(common::VIP), Vip::SERVED);
        let mut packet = MemoryPacket::new(&tunnelled, 1);
        assert_eq!(unwrap(&mut packet, &&end), Reason::Unwrapped.pass());
        let inner = Ipv4HeaderSlice::from_slice(&packet.frame()[14..]).expect("an inner header");
        assert_eq!(inner.ttl(), 63);
        assert_eq!(packet.frame()[34..], input[34..]);
    }
}
