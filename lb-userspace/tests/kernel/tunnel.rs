//! The kernel's own tunl0, as `realserver up` sets it up, takes real IPIP packets and answers clients directly.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use lb_userspace::{
    netlink::Netlink,
    nexthop::resolve,
    realserver::{Mode, UpArgs, check, down, up},
    sysctl::{ProcSys, Sysctls as _},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    realserver::{StandIn, VIP, check_args, down_args, network, up_args},
    support::{in_namespace, new_namespace, within},
};

const DIRECTOR: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 254);
const RS1: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 2);
const IPIP: i32 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What the client sends: from the director's address here, which is where the answer is looked for.
fn inner(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 63, protocol, 0, 0]);
    packet.extend(DIRECTOR.octets());
    packet.extend(VIP.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

fn datagram(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(from.to_be_bytes());
    udp.extend(to.to_be_bytes());
    udp.extend(((8 + data.len()) as u16).to_be_bytes());
    // No checksum (RFC 768).
    udp.extend([0, 0]);
    udp.extend(data);
    udp
}

fn syn(from: u16, to: u16) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    // MSS 1460.
    tcp.extend([2, 4, 0x05, 0xb4]);
    let mut pseudo = Vec::new();
    pseudo.extend(DIRECTOR.octets());
    pseudo.extend(VIP.octets());
    pseudo.extend([0, TCP, 0, tcp.len() as u8]);
    pseudo.extend(&tcp);
    let sum = checksum(&pseudo).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    tcp
}

/// The MSS option of the first SYN+ACK from the VIP.
fn advertised_mss(socket: &Socket) -> u16 {
    let limit = Instant::now() + Duration::from_secs(3);
    while Instant::now() < limit {
        let mut reader = socket;
        let mut bytes = [0; 2048];
        let length = std::io::Read::read(&mut reader, &mut bytes).expect("an answer");
        let packet = &bytes[..length];
        let tcp = &packet[usize::from(packet[0] & 15) * 4..];
        if packet[12..16] == VIP.octets() && tcp[13] == 0x12 {
            // Linux puts the MSS first.
            assert_eq!(tcp[20..22], [2, 4]);
            return u16::from_be_bytes([tcp[22], tcp[23]]);
        }
    }
    panic!("no SYN+ACK from the VIP");
}

/// Whether the kernel has IP in IP, built in or loadable; where it has not, says so.
///
/// `TUNLB_REQUIRE_IPIP` is set where it must be there: `cargo xtask test` sets it for the virtual machine with a stock kernel.
fn has_ipip() -> bool {
    let there = std::process::Command::new("modprobe")
        .args(["--quiet", "ipip"])
        .status()
        .is_ok_and(|status| status.success())
        || std::path::Path::new("/proc/sys/net/ipv4/conf/tunl0").exists();
    assert!(
        there || std::env::var_os("TUNLB_REQUIRE_IPIP").is_none(),
        "TUNLB_REQUIRE_IPIP is set, and the kernel has no ipip module"
    );
    there
}

#[test]
fn tunl0_takes_tunnelled_packets_and_the_answer_comes_directly() {
    if !has_ipip() {
        // Not through the captured output of tests: that is shown of failures only.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: tunl0 taking tunnelled packets: this kernel has no ipip module; `cargo xtask test` runs it in a virtual \
             machine"
        );
        return;
    }
    in_namespace(|| async {
        let director = new_namespace();
        let rs1 = Netlink::connect().expect("connect");
        let there = within(&director, Netlink::connect).expect("connect there");
        rs1.create_veth("eth0", "eth0", Some(director.as_fd())).await.expect("veth");
        for (netlink, address) in [(&rs1, RS1), (&there, DIRECTOR)] {
            let link = netlink.require_link("eth0").await.expect("eth0").index;
            let address = network(&format!("{address}/24"));
            netlink.add_address(link, address).await.expect("address");
            netlink.set_link_up(link, true).await.expect("up");
        }
        resolve(&there, IpAddr::V4(RS1), Duration::from_secs(5)).await.expect("rs1 answers");
        // The stricter of the two: what would silence rs1 if it were left so.
        ProcSys.write("net/ipv4/conf/all/rp_filter", "1").expect("strict");

        let folder = tempfile::tempdir().expect("a folder");
        let unwrapper = StandIn::default();
        let args = UpArgs { xdp: false, ..up_args(folder.path(), VIP) };
        let report = up(&args, &unwrapper).await.expect("up");
        assert_eq!(report.mode, Mode::Kernel, "this kernel has no ipip module");
        let found = check(&check_args(folder.path()), &unwrapper).await.expect("check");
        assert!(found.right, "{:#?}", found.findings);

        let service = UdpSocket::bind((VIP, 6000)).expect("the service");
        let listener = TcpListener::bind((VIP, 80)).expect("the web server");
        let limit = Some(Duration::from_secs(3));
        service.set_read_timeout(limit).expect("limit");
        let (client, tunnel, raw) = within(&director, || {
            let raw =
                |protocol| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)));
            (
                UdpSocket::bind((DIRECTOR, 5000)).expect("the client"),
                raw(IPIP).expect("a raw socket"),
                raw(i32::from(TCP)).expect("a raw socket"),
            )
        });
        client.set_read_timeout(limit).expect("limit");
        raw.set_read_timeout(limit).expect("limit");
        let server = SocketAddr::from((RS1, 0)).into();

        let question = inner(UDP, &datagram(5000, 6000, b"question"));
        tunnel.send_to(&question, &server).expect("send");
        let mut buffer = [0; 64];
        let (length, from) = service.recv_from(&mut buffer).expect("the unwrapped packet");
        assert_eq!(&buffer[..length], b"question");
        assert_eq!(from, SocketAddr::from((DIRECTOR, 5000)));
        service.send_to(b"answer", from).expect("answer");
        let (length, from) = client.recv_from(&mut buffer).expect("the direct answer");
        assert_eq!(&buffer[..length], b"answer");
        assert_eq!(from, SocketAddr::from((VIP, 6000)));

        tunnel.send_to(&inner(TCP, &syn(5001, 80)), &server).expect("send");
        assert_eq!(advertised_mss(&raw), 1440);
        drop((listener, service));

        down(&down_args(folder.path()), &unwrapper).await.expect("down");
        let tunl0 = rs1.require_link("tunl0").await.expect("the module keeps it");
        assert!(!tunl0.admin_up);
        assert_eq!(rs1.addresses(Some(tunl0.index)).await.expect("addresses"), []);
    });
}
