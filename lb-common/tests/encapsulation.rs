//! What goes to a real server, judged by etherparse.

mod common;

use common::{
    CLIENT, DIRECTOR, DNS, HTTP, SYN, VIP, direct, frame, header, server_address, tables,
};
use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice, NetSlice, SlicedPacket, TransportSlice};
use lb_common::{Action, Reason, table::Vlan};
use proptest::{collection::vec, prelude::*};

/// A packet for one of the services, with whatever a client may put into its header.
#[derive(Clone, Debug)]
struct Sent {
    header: Ipv4Header,
    transport: Vec<u8>,
    tags: Vec<(u16, u16)>,
    padding: usize,
    egress: Option<u16>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let fields = (2u8.., any::<u8>(), any::<u16>(), any::<bool>(), vec(any::<u8>(), 0..=10));
    let transport = (any::<bool>(), any::<u16>(), vec(any::<u8>(), 0..1400));
    let link = (
        vec((prop_oneof![Just(0x8100), Just(0x88a8)], any::<u16>()), 0..=2),
        0usize..40,
        proptest::option::of(1u16..4095),
    );
    (fields, transport, link).prop_map(
        |(fields, (is_tcp, port, payload), (tags, padding, egress))| {
            let (ttl, tos, id, dont_fragment, options) = fields;
            let (protocol, transport) = if is_tcp {
                (IpNumber::TCP, common::tcp(port, HTTP, SYN, &payload))
            } else {
                (IpNumber::UDP, common::udp(port, DNS, &payload))
            };
            let mut header = header(protocol);
            header.time_to_live = ttl;
            header.dscp = (tos >> 2).try_into().expect("six bits");
            header.ecn = (tos & 3).try_into().expect("two bits");
            header.identification = id;
            header.dont_fragment = dont_fragment;
            let options: Vec<u8> = options.iter().flat_map(|byte| [*byte; 4]).collect();
            header.options = options.as_slice().try_into().expect("whole words");
            Sent { header, transport, tags, padding, egress }
        },
    )
}

/// RFC 3168's full functionality as measured with ip_vs: 00, 01, 10 stay, 11 becomes 10.
const OUTER_ECN: [u8; 4] = [0, 1, 2, 2];

fn checksum_is_right(header: Ipv4HeaderSlice<'_>) -> bool {
    header.header_checksum() == header.to_header().calc_header_checksum()
}

proptest! {
    #[test]
    fn output_is_the_packet_one_hop_older_inside_a_valid_outer_packet(sent in sent()) {
        let mut tables = tables(16);
        if let Some(id) = sent.egress {
            tables.real_servers.iter_mut().for_each(|server| server.vlan = Vlan::id(id));
        }
        let packet = common::packet(sent.header.clone(), &sent.transport);
        let mut input = frame(&packet, &sent.tags);
        input.resize(input.len() + sent.padding, 0xaa);
        let (verdict, output) = direct(&tables, &input);
        prop_assert_eq!(verdict, Reason::Scheduled.transmit());

        let parsed = SlicedPacket::from_ethernet(&output).expect("a frame");
        let vlans: Vec<u16> = parsed.vlan_ids().iter().map(|id| id.value()).collect();
        prop_assert_eq!(vlans, sent.egress.into_iter().collect::<Vec<_>>());
        let Some(NetSlice::Ipv4(outer)) = parsed.net else { panic!("{:?}", parsed.net) };
        let server = if sent.header.protocol == IpNumber::TCP { 0 } else { 4 };
        let header = outer.header();
        prop_assert!(checksum_is_right(header));
        prop_assert_eq!(header.source(), DIRECTOR);
        prop_assert_eq!(header.destination(), server_address(server));
        prop_assert_eq!(header.ttl(), sent.header.time_to_live - 1);
        prop_assert_eq!(header.dcp(), sent.header.dscp);
        prop_assert_eq!(header.ecn().value(), OUTER_ECN[usize::from(sent.header.ecn.value())]);
        prop_assert_eq!(header.dont_fragment(), sent.header.dont_fragment);
        prop_assert!(!sent.header.dont_fragment || header.identification() == 0);
        prop_assert_eq!(header.protocol(), IpNumber::IPV4);
        prop_assert_eq!(usize::from(header.total_len()), packet.len() + 20);
        prop_assert!(!header.more_fragments() && header.options().is_empty());
        // No padding: the outer packet ends where the frame does.
        prop_assert_eq!(output.len(), packet.len() + 34 + 4 * usize::from(sent.egress.is_some()));

        let inner = SlicedPacket::from_ip(outer.payload().payload).expect("an inner packet");
        let Some(NetSlice::Ipv4(ip)) = inner.net else { panic!("{:?}", inner.net) };
        prop_assert!(checksum_is_right(ip.header()));
        let aged = common::packet(
            Ipv4Header { time_to_live: sent.header.time_to_live - 1, ..sent.header.clone() },
            &sent.transport,
        );
        prop_assert_eq!(outer.payload().payload, &aged[..]);
        match inner.transport {
            Some(TransportSlice::Tcp(tcp)) => prop_assert_eq!(tcp.slice(), &sent.transport[..]),
            Some(TransportSlice::Udp(udp)) => prop_assert_eq!(udp.slice(), &sent.transport[..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn icmp_errors_are_valid_and_quote_at_most_548_bytes(
        sent in sent(),
        ends: bool,
        mtu in 88u16..1500,
    ) {
        let mut tables = tables(16);
        tables.real_servers.iter_mut().for_each(|server| server.mtu = mtu);
        let ttl = if ends { 1 } else { sent.header.time_to_live };
        let header = Ipv4Header { time_to_live: ttl, dont_fragment: true, ..sent.header };
        let packet = common::packet(header, &sent.transport);
        let mut input = frame(&packet, &sent.tags);
        input.resize(input.len() + sent.padding, 0xaa);
        let (verdict, output) = direct(&tables, &input);
        let reason = if ends {
            Reason::TimeExceeded
        } else if packet.len() > usize::from(mtu) - 20 {
            Reason::FragmentationNeeded
        } else {
            return Ok(());
        };
        prop_assert_eq!(verdict, reason.transmit());

        let link = 14 + 4 * sent.tags.len();
        prop_assert_eq!(&output[..6], &input[6..12]);
        prop_assert_eq!(&output[6..12], &input[..6]);
        prop_assert_eq!(&output[12..link], &input[12..link]);
        let answer = SlicedPacket::from_ip(&output[link..]).expect("an answer");
        let Some(NetSlice::Ipv4(ip)) = answer.net else { panic!("{:?}", answer.net) };
        prop_assert!(checksum_is_right(ip.header()));
        prop_assert_eq!((ip.header().source(), ip.header().destination()), (VIP, CLIENT));
        prop_assert_eq!(usize::from(ip.header().total_len()), output.len() - link);
        let Some(TransportSlice::Icmpv4(icmp)) = answer.transport else { panic!("no ICMP") };
        let kind = icmp.icmp_type();
        let quote = icmp.payload();
        prop_assert_eq!(icmp.checksum(), kind.calc_checksum(quote));
        let expected = if ends {
            etherparse::Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit)
        } else {
            etherparse::Icmpv4Type::DestinationUnreachable(
                etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu - 20 },
            )
        };
        prop_assert_eq!(kind, expected);
        prop_assert_eq!(quote.len(), packet.len().min(548));
        let header = Ipv4HeaderSlice::from_slice(quote).expect("the quoted header");
        prop_assert!(checksum_is_right(header));
        prop_assert_eq!(header.ttl(), if ends { 1 } else { ttl - 1 });
        prop_assert_eq!(&quote[header.slice().len()..], &packet[header.slice().len()..quote.len()]);
    }
}

#[test]
fn another_interface_is_redirected_to() {
    let mut tables = tables(16);
    tables.real_servers[0].interface = 9;
    let (verdict, _) = direct(&tables, &common::segment(CLIENT, 1, HTTP, SYN));
    assert_eq!(verdict.action(), Action::Redirect(9));
}
