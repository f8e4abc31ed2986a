"""What is not forwarded: passed to the kernel untouched, or dropped under a name."""

from scapy.all import ICMP, LLC, SNAP, TCP, UDP, Ether, IPOption, IPv6, Raw

from .fixtures import CLIENT, DIRECTOR_MAC, LOCAL_VIP, OTHER_MAC, RS1, VIP
from .forwarding import datagram, packet, to_udp
from .ipvs import replay
from .output import File
from .packets import (
    CUSTOMER,
    PROVIDER,
    dropped,
    ended,
    forwarded,
    ip,
    passed,
    protocol_unreachable,
    received,
    reset,
    sent,
    tcp,
)

REASONS = "the list of reasons"


def raw(header, body=b"", **changes):
    """An IPv4 packet whose header says something untrue, with a right checksum."""
    built = bytearray(bytes(header))
    for offset, new in changes.get("octets", {}).items():
        built[offset] = new
    words = sum(int.from_bytes(built[at : at + 2], "big") for at in range(0, 20, 2) if at != 10)
    built[10:12] = (0xFFFF - (words % 0xFFFF)).to_bytes(2, "big")
    return Raw(bytes(built) + body)


def ethernet(body, kind=0x0800):
    return Ether(dst=DIRECTOR_MAC, src="02:00:00:00:19:01", type=kind) / Raw(bytes(body))


def collision(address):
    """Another address that the VIP filter cannot tell from this one."""

    def bit(number):
        return (number * 0x9E3779B1 & 0xFFFFFFFF) >> 20

    number = int.from_bytes(bytes(map(int, address.split("."))), "big")
    other = next(n for n in range(0x0A000000, 0x0B000000) if bit(n) == bit(number))
    return ".".join(map(str, other.to_bytes(4, "big")))


def malformed():
    file = File("malformed", "Packets for a VIP whose headers do not fit their length")
    rfc791 = "RFC 791, 3.1: IHL is at least 5, the total length covers the header"

    def case(name, step, source=rfc791, **more):
        file.case(name, source, step, **more)

    syn = bytes(ip() / tcp())
    drop = "drop-malformed"

    def bad(octets, body=None):
        return ended(
            ethernet(raw(syn[:20], syn[20:] if body is None else body, octets=octets)), "drop", drop
        )

    case("a header length of 0", bad({0: 0x40}))
    case("a header length of 16 bytes", bad({0: 0x44}))
    case("version 6 under IPv4's EtherType", bad({0: 0x65}))
    case("version 0", bad({0: 0x05}))
    case("a total length of 0", bad({2: 0, 3: 0}))
    case("a total length below the header's", bad({2: 0, 3: 19}))
    case("a total length below that of a header with options", bad({0: 0x4F, 2: 0, 3: 40}))
    case("a total length beyond the frame", bad({2: 0, 3: 41}))
    case("a total length far beyond the frame", bad({2: 0xFF, 3: 0xFF}))
    case("a header length beyond the frame", bad({0: 0x4F, 2: 0, 3: 60}))
    replay(
        file,
        "measured: a total length beyond the frame",
        ("IP total len > frame", {"reason": drop}),
    )
    replay(
        file,
        "a TCP header cut to 12 bytes",
        ("TCP header truncated to 12 bytes", {"reason": drop}),
    )
    replay(file, "a TCP header cut to 4 bytes", ("TCP truncated 4 bytes", {"reason": drop}))
    replay(file, "a UDP header cut to 4 bytes", ("UDP truncated 4 bytes", {"reason": drop}))
    case(
        "a TCP header of 19 bytes",
        dropped(ip(proto=6) / Raw(bytes(TCP(sport=1, dport=80, flags="S"))[:19]), drop),
        "RFC 9293, 3.1: 20 bytes",
    )
    case(
        "a UDP header of 7 bytes",
        dropped(ip(proto=17) / Raw(bytes(UDP(sport=1, dport=53))[:7]), drop),
        "RFC 768: 8 bytes",
    )
    case("no transport header at all", dropped(ip(proto=6), drop), "RFC 9293, 3.1: 20 bytes")
    padded = received(ip(proto=6) / Raw(bytes(TCP(sport=1, dport=80, flags="S"))[:12]))
    case(
        "padding does not complete a TCP header",
        ended(Ether(bytes(padded) + bytes(14)), "drop", drop),
        "RFC 894: padding is no part of the packet",
    )
    case(
        "options that leave no room for a TCP header",
        dropped(
            ip(proto=6, options=[IPOption(b"\x01" * 40)]) / Raw(bytes(TCP(sport=1, dport=80))[:19]),
            drop,
        ),
        "RFC 9293, 3.1: 20 bytes",
    )
    case(
        "under a tag",
        dropped(ip(proto=17) / Raw(b"\0" * 7), drop, tags=[(CUSTOMER, 5, 0)]),
        "RFC 768: 8 bytes",
    )
    case(
        "for a VIP of the director's own it is the kernel's",
        passed(ip(dst=LOCAL_VIP, proto=17) / Raw(b"\0" * 7), "pass-local-vip"),
        REASONS,
    )
    case(
        "for another address it is the kernel's",
        passed(ip(dst="192.168.19.9", proto=17) / Raw(b"\0" * 7), "pass-not-vip"),
        REASONS,
    )
    file.write()


def protocols():
    file = File("protocols", "Protocols that are not balanced, and ICMP about flows")
    for key in ("proto 47 to VIP", "proto 132 SCTP to VIP", "proto 50 ESP to VIP"):
        if "47" not in key:  # The host that was measured had GRE.
            replay(
                file,
                f"{key}: answered as a host would",
                (key, {"answer": "protocol-unreachable"}),
            )
        replay(
            file,
            f"{key} of the director's own: left to its kernel",
            (key, {"reason": "pass-local-vip"}),
            fixture="ipvs_local",
        )
    replay(
        file,
        "ICMP errors about a flow go to its server",
        "open flow",
        "frag-needed mtu 1400 quoting IP+8",
        "frag-needed quoting IP+20",
        "frag-needed quoting IP+4 only",
        "time-exceeded quoting 28",
        "host-unreach quoting 28",
        "port-unreach quoting 28",
        "source quench quoting 28",
        "bad ICMP checksum",
        "frag-needed, quoted header has options",
        "frag-needed, outer ICMP pkt has IP options, ttl 64",
        "ICMP error big 1500 DF",
        fixture="ipvs_rs2",
    )
    replay(
        file,
        "other ICMP about a flow goes nowhere",
        "open flow",
        ("parameter problem quoting 28", {"reason": "drop-icmp"}),
        ("redirect quoting 28", {"reason": "drop-icmp"}),
        ("frag-needed unknown flow", {"reason": "drop-icmp"}),
        ("frag-needed, quoted non-first fragment", {"reason": "drop-icmp"}),
        ("ICMP error ttl=1", {"reason": "drop-icmp"}),
        fixture="ipvs_rs2",
    )
    replay(
        file,
        "ICMP errors about a UDP flow go to its server",
        "udp flow",
        "port-unreach about UDP flow",
    )
    replay(
        file,
        "services that are not there",
        ("TCP SYN to VIP port without service", {"answer": "reset-no-service"}),
        ("TCP ACK to VIP port without service", {"answer": "reset-no-service"}),
        ("UDP to VIP port without service", {"answer": "port-unreachable"}),
        ("TCP ACK service without servers", {"answer": "reset-no-flow"}),
    )
    file.case(
        "IPIP to a VIP is not unwrapped by the director",
        REASONS,
        protocol_unreachable(ip() / ip() / tcp(), ip() / ip() / tcp()),
    )
    file.write()


def pass_through():
    file = File("pass_through", "Frames that are none of the director's business, byte for byte")
    rule = "untouched"
    other = collision(VIP)
    assert other != VIP

    def case(name, *steps, **more):
        file.case(name, rule, *steps, **more)

    case("IPv6", passed(IPv6(src="fd00::1", dst="fd00::2") / tcp(), "pass-not-ipv4"))
    case("LLDP", ended(ethernet(b"\x02\x07\x04" + bytes(43), 0x88CC), "pass", "pass-not-ipv4"))
    case(
        "an 802.3 frame with a length for a type",
        ended(
            Ether(
                bytes(Ether(dst="01:80:c2:00:00:00", src=OTHER_MAC, type=38))
                + bytes(LLC() / SNAP())
                + bytes(38)
            ),
            "pass",
            "pass-not-ipv4",
        ),
    )
    case(
        "MPLS",
        ended(ethernet(b"\0\x01\x01\x40" + bytes(packet()), 0x8847), "pass", "pass-not-ipv4"),
    )
    case(
        "IPv4 under three tags",
        passed(
            packet(), "pass-not-ipv4", tags=[(PROVIDER, 7, 0), (CUSTOMER, 8, 0), (CUSTOMER, 9, 0)]
        ),
    )
    case(
        "IPv6 under a tag",
        passed(
            IPv6(src="fd00::1", dst="fd00::2") / tcp(), "pass-not-ipv4", tags=[(CUSTOMER, 8, 0)]
        ),
    )
    case("a SYN for another address", passed(packet(dst="192.168.19.1"), "pass-not-vip"))
    case(
        "IPv4 for another address under two tags",
        passed(packet(dst=RS1), "pass-not-vip", tags=[(PROVIDER, 7, 0), (CUSTOMER, 8, 0)]),
    )
    case("a datagram for another address", passed(datagram(dst="192.168.19.254"), "pass-not-vip"))
    case("a packet from a VIP", passed(packet(src=VIP, dst=CLIENT), "pass-not-vip"))
    case("ICMP for another address", passed(ip(dst=RS1) / ICMP(), "pass-not-vip"))
    case(
        "a broadcast",
        passed(datagram(dst="255.255.255.255"), "pass-not-vip", dst="ff:ff:ff:ff:ff:ff"),
    )
    case("a multicast", passed(datagram(dst="224.0.0.18"), "pass-not-vip", dst="01:00:5e:00:00:12"))
    case(
        "addresses that the filter takes for a VIP are no VIP",
        passed(packet(dst=other), "pass-not-vip"),
        passed(packet("A", dst=other), "pass-not-vip"),
        passed(datagram(dst=other), "pass-not-vip"),
        passed(ip(dst=other) / ICMP(), "pass-not-vip"),
        passed(ip(dst=other, proto=47) / Raw(b"x"), "pass-not-vip"),
        passed(ip(dst=other, frag=3) / Raw(b"x" * 8), "pass-not-vip"),
        passed(ip(dst=other, proto=6) / Raw(b"x" * 5), "pass-not-vip"),
        passed(ip(dst=other, src="127.0.0.1") / tcp(), "pass-not-vip"),
    )
    case(
        "a frame for a VIP addressed to another host",
        passed(packet(), "pass-other-host", dst=OTHER_MAC),
        passed(packet(), "pass-other-host", dst="ff:ff:ff:ff:ff:ff"),
        passed(packet(), "pass-other-host", dst="01:00:5e:28:13:64"),
        passed(ip() / ICMP(), "pass-other-host", dst=OTHER_MAC),
    )
    case(
        "a VIP of the director's own, where no service matches",
        passed(packet(dst=LOCAL_VIP), "pass-local-vip"),
        passed(packet("A", dst=LOCAL_VIP), "pass-local-vip"),
        passed(datagram(dst=LOCAL_VIP), "pass-local-vip"),
        passed(ip(dst=LOCAL_VIP) / ICMP(), "pass-local-vip"),
        passed(ip(dst=LOCAL_VIP, proto=47) / Raw(b"x"), "pass-local-vip"),
        passed(ip(dst=LOCAL_VIP, frag=3) / Raw(b"x" * 8), "pass-local-vip"),
    )
    whole = bytes(received(packet()))
    for length, reason in [(14, "pass-not-vip"), (20, "pass-not-vip"), (33, "pass-not-vip")]:
        case(
            f"IPv4 cut to {length} bytes of frame",
            ended(Ether(whole[:length]), "pass", reason),
        )
    case(
        "a tag cut short",
        ended(Ether(bytes(received(packet(), [(CUSTOMER, 5, 0)]))[:16]), "pass", "pass-not-ipv4"),
    )
    case(
        "a second tag cut short",
        ended(
            Ether(bytes(received(packet(), [(PROVIDER, 5, 0), (CUSTOMER, 5, 0)]))[:20]),
            "pass",
            "pass-not-ipv4",
        ),
    )
    for length in (0, 13):
        file.case(
            f"a frame of {length} bytes",
            rule,
            {"frame": whole[:length], "action": "pass", "reason": "pass-not-ipv4"},
            memory_only="the kernel's test run takes 14 bytes and more",
        )
    case(
        "what passes leaves no trace: the flow that follows is new",
        passed(packet(), "pass-other-host", dst=OTHER_MAC),
        reset(packet("A")),
        sent(packet()),
        forwarded(packet("A")),
    )
    file.write()


def fragments():
    file = File("fragments", "Fragments: not forwarded yet")
    file.case(
        "every fragment for an owned VIP is dropped",
        REASONS,
        dropped(datagram(flags="MF", length=504), "drop-fragment", note="the first"),
        dropped(
            ip(flags="MF", frag=64, proto=17) / Raw(b"x" * 8), "drop-fragment", note="one between"
        ),
        dropped(ip(flags=0, frag=128, proto=17) / Raw(b"x" * 8), "drop-fragment", note="the last"),
        dropped(
            ip(flags=0, frag=128, proto=17) / Raw(b"x" * 3),
            "drop-fragment",
            note="shorter than a header",
        ),
        dropped(ip(flags="DF+MF", proto=17) / Raw(b"x" * 16), "drop-fragment", note="DF beside MF"),
        dropped(
            ip(flags=0, frag=8191, proto=6) / Raw(b"x"), "drop-fragment", note="the largest offset"
        ),
        dropped(ip(flags="MF") / tcp(), "drop-fragment", note="of TCP"),
        dropped(
            ip(flags="MF", proto=47) / Raw(b"x" * 8), "drop-fragment", note="of another protocol"
        ),
    )
    file.case(
        "a fragment opens no flow",
        REASONS,
        dropped(ip(flags="MF") / tcp(), "drop-fragment"),
        reset(packet("A")),
    )
    file.case(
        "a fragment of a known flow is dropped as well",
        REASONS,
        to_udp(sent(datagram())),
        dropped(datagram(flags="MF", length=504), "drop-fragment"),
        to_udp(forwarded(datagram())),
    )
    file.case(
        "a fragment under a tag",
        REASONS,
        dropped(datagram(flags="MF", length=504), "drop-fragment", tags=[(CUSTOMER, 5, 0)]),
    )
    file.case(
        "for a VIP of the director's own a fragment is the kernel's",
        REASONS,
        passed(datagram(dst=LOCAL_VIP, dport=81, flags="MF", length=504), "pass-local-vip"),
        passed(ip(dst=LOCAL_VIP, frag=63, proto=17) / Raw(b"x" * 8), "pass-local-vip"),
    )
    file.case(
        "but not the first one to a service, which the kernel would put together and refuse",
        REASONS,
        dropped(datagram(dst=LOCAL_VIP, flags="MF", length=504), "drop-fragment"),
        passed(ip(dst=LOCAL_VIP, frag=63, proto=17) / Raw(b"x" * 8), "pass-local-vip"),
        fixture="local",
    )
    file.case(
        "the reserved bit makes no fragment",
        "RFC 791: the bit is no part of the offset",
        sent(ip(flags="evil+DF") / tcp()),
    )
    file.write()


def martian():
    file = File("martian", "Source addresses that no client can have")
    for key in (
        "source 127.0.0.1",
        "source multicast",
        "source broadcast",
        "source 0.0.0.0",
        "source = VIP",
    ):
        replay(file, key, (key, {"reason": "drop-martian"}))
    rule = "RFC 1812, 5.3.7: martian source addresses"
    for source in ("0.0.0.0", "127.255.255.255", "224.0.0.1", "239.255.255.255", "255.255.255.255"):
        file.case(
            f"{source} opens no flow",
            rule,
            dropped(packet(src=source), "drop-martian"),
            dropped(datagram(src=source), "drop-martian"),
        )
    for source in ("1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.254", "169.254.1.1"):
        file.case(f"{source} is a client", rule, sent(packet(src=source)))
    linux = "measured: Linux 6.1 and 6.18 accept TCP connections from there"
    for source in ("0.1.2.3", "240.0.0.1", "255.0.0.1"):
        file.case(f"{source} may be a client", linux, sent(packet(src=source)))
    file.case(
        "not for a VIP, a martian is the kernel's",
        rule,
        passed(packet(src="127.0.0.1", dst=RS1), "pass-not-vip"),
    )
    file.case(
        "a martian takes no turn of the scheduler",
        rule,
        dropped(packet(src="127.0.0.1"), "drop-martian"),
        sent(packet()),
    )
    file.case(
        "a martian whose TTL ends is not answered",
        rule,
        dropped(packet(src="224.0.0.1", ttl=1), "drop-martian"),
    )
    file.case(
        "a martian is not answered where there is no server",
        rule,
        dropped(packet(src="255.255.255.255"), "drop-martian"),
        fixture="no_servers",
    )
    file.write()
