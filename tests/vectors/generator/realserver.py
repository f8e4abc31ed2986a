"""The real server's side: outer headers come off."""

from scapy.all import ARP, IP, Ether, IPOption, IPv6, Raw

from .fixtures import DIRECTOR, DIRECTOR_MAC, RS1, RS1_MAC, RS2, VIP
from .output import File
from .packets import CUSTOMER, PROVIDER, ended, ip, payload, rebuilt, received, tcp, udp

RFC2003 = "RFC 2003, 3.2: the inner packet as it was wrapped; built by scapy"


def tunnel(inner, dst=RS1, proto=4, tags=(), **more):
    """An IPIP frame as the director sends it."""
    outer = IP(
        src=DIRECTOR, dst=dst, proto=proto, ttl=63, flags=more.pop("flags", "DF"), id=0, **more
    )
    return received(outer / inner, tags, dst=RS1_MAC, src=DIRECTOR_MAC)


def bare(inner, tags=()):
    """The inner packet alone, under the same link header."""
    return received(inner, tags, dst=RS1_MAC, src=DIRECTOR_MAC)


def unwrap():
    file = File("unwrap", "The real server's program: IPIP for one of its VIPs")

    def case(name, frame, action, reason, out=None, source=RFC2003):
        step = ended(frame, action, reason)
        if out is not None:
            step["out"] = out
        file.case(name, source, step, fixture="real_server")

    def unwrapped(name, inner, out=None, source=RFC2003, tags=(), **outer):
        out = bare(inner if out is None else out, tags)
        case(name, tunnel(inner, tags=tags, **outer), "pass", "unwrapped", out, source)

    def left(name, frame, source=RFC2003):
        case(name, frame, "pass", "pass-not-tunnel", source=source)

    def refused(name, frame, source=RFC2003):
        case(name, frame, "drop", "drop-inner", source=source)

    syn = ip(ttl=63) / tcp()
    unwrapped("a SYN comes out", syn)
    unwrapped("a datagram comes out", ip(ttl=63) / udp() / payload(18))
    unwrapped("a full-size packet comes out", ip(ttl=63) / tcp("A") / payload(1440))
    unwrapped(
        "an echo request for the VIP comes out",
        ip(ttl=63, proto=1) / Raw(b"\x08\0\xf7\xff\0\0\0\0"),
    )
    unwrapped("inner options stay", ip(ttl=63, options=[IPOption(b"\x01" * 4)]) / tcp())
    unwrapped("outer options go", syn, options=[IPOption(b"\x01" * 8)])
    unwrapped("a tag stays", syn, tags=[(CUSTOMER, 119, 3)])
    unwrapped("two tags stay", syn, tags=[(PROVIDER, 7, 0), (CUSTOMER, 119, 3)])
    unwrapped("an outer packet without DF", syn, flags=0)
    unwrapped("a fragment inside is the stack's to assemble", ip(ttl=63, flags="MF") / tcp())
    frame = tunnel(syn)
    case(
        "the padding of a frame stays behind the packet",
        Ether(bytes(frame) + bytes(6)),
        "pass",
        "unwrapped",
        Ether(bytes(bare(syn)) + bytes(6)),
    )
    ecn = "RFC 6040, 4.2, figure 4"
    for outer in (0, 1, 2):
        for inner in (0, 1, 2, 3):
            if outer == 1 and inner == 2:
                continue
            unwrapped(
                f"ECN {outer:02b} outside, {inner:02b} inside: the inner stays",
                ip(ttl=63, tos=0x28 | inner) / tcp(),
                tos=0x28 | outer,
                source=ecn,
            )
    for inner in (1, 2, 3):
        packet = ip(ttl=63, tos=0x28 | inner) / tcp()
        unwrapped(
            f"congestion outside shows on an inner ECN of {inner:02b}",
            packet,
            rebuilt(packet, tos=0x2B),
            tos=0x2B,
            source=ecn,
        )
    refused(
        "congestion outside drops an inner packet that cannot tell",
        tunnel(ip(ttl=63, tos=0x28) / tcp(), tos=3),
        source=ecn,
    )
    left("a packet without a tunnel", bare(syn))
    left("a tunnel to another host", tunnel(syn, dst=RS2))
    left("a tunnel to the VIP itself", tunnel(syn, dst=VIP))
    left("a packet for an address that is not served", tunnel(ip(ttl=63, dst=RS1) / tcp()))
    left("a packet for nobody we know", tunnel(ip(ttl=63, dst="10.1.1.1") / tcp()))
    left("IPv6 in IPv4", tunnel(IPv6(src="fd00::1", dst="fd00::2") / tcp(), proto=41))
    left("GRE", tunnel(Raw(b"\0\0\x08\0" + bytes(syn)), proto=47))
    left("IPv6", received(IPv6(src="fd00::1", dst="fd00::2") / tcp(), dst=RS1_MAC))
    left("ARP", arp_request())
    left("a fragment of a tunnel packet", tunnel(syn, flags="MF"))
    left("a later fragment of a tunnel packet", tunnel(Raw(bytes(syn)), frag=3, flags=0))
    left("a frame cut inside the outer header", Ether(bytes(tunnel(syn))[:30]))
    malformed = "RFC 791, 3.1"
    whole = bytes(syn)
    refused("an inner packet of no bytes", tunnel(Raw(b"")), malformed)
    refused("an inner header cut short", tunnel(Raw(whole[:19])), malformed)
    refused("an inner header length of 16", tunnel(Raw(b"\x44" + whole[1:])), malformed)
    refused("an inner version of 6", tunnel(Raw(b"\x65" + whole[1:])), malformed)
    refused(
        "an inner total length beyond the outer",
        tunnel(Raw(whole[:2] + b"\0\x29" + whole[4:])),
        malformed,
    )
    refused(
        "an inner total length below its header",
        tunnel(Raw(whole[:2] + b"\0\x13" + whole[4:])),
        malformed,
    )
    refused(
        "a frame that ends before its outer packet does",
        Ether(bytes(tunnel(syn))[:-1]),
        malformed,
    )
    file.write()


def arp_request():
    """An ARP request for the VIP; the stack's sysctls decide who answers."""
    return Ether(dst="ff:ff:ff:ff:ff:ff", src=DIRECTOR_MAC) / ARP(
        pdst=VIP, psrc=DIRECTOR, hwsrc=DIRECTOR_MAC
    )
