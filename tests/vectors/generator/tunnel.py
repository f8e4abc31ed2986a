"""Encapsulation: the outer header, the inner one, and the link header of the next hop."""

from scapy.all import IP, UDP, Ether, IPOption, IPOption_Router_Alert, Raw

from .forwarding import datagram, packet, to_udp
from .ipvs import replay
from .output import File
from .packets import (
    CUSTOMER,
    PROVIDER,
    at,
    dropped,
    forwarded,
    ip,
    sent,
    udp,
    wrapped,
)

RFC2003 = "RFC 2003, 3.1; built by scapy"


def vlan():
    file = File("vlan", "VLAN tags on the way in and on the way out")
    rule = "802.1Q: a tag belongs to its link; built by scapy"
    tag = (CUSTOMER, 119, 0)
    for name, tags in [
        ("a tag on the way in is taken off", [tag]),
        ("a priority tag is taken off", [(CUSTOMER, 0, 6)]),
        ("two tags on the way in are taken off", [(PROVIDER, 7, 0), tag]),
        ("two customer tags on the way in are taken off", [(CUSTOMER, 7, 0), tag]),
    ]:
        file.case(
            name,
            rule,
            sent(packet(), tags=tags),
            forwarded(packet("A"), tags=tags),
            forwarded(packet("PA", length=100), note="the same flow without a tag"),
        )
    for name, tags in [
        ("a next hop behind a VLAN gets a tag", []),
        ("one tag is changed for another", [(CUSTOMER, 7, 5)]),
        ("two tags are changed for one", [(PROVIDER, 7, 3), (CUSTOMER, 8, 5)]),
    ]:
        file.case(
            name,
            rule,
            sent(packet(), tags=tags, vlan=119),
            to_udp(sent(datagram(flags=0), tags=tags, vlan=119, df=False)),
            fixture="tagged",
        )
    file.case(
        "a next hop behind a VLAN of another interface gets its tag there",
        rule,
        sent(packet(), vlan=119),
        sent(packet(sport=2), server=1, vlan=4094, action="redirect:7"),
        fixture="tagged",
    )
    file.write()


def redirect():
    file = File("redirect", "Real servers behind another interface, and behind none")
    rule = "the interface and addresses of the next hop; built by scapy"
    file.case(
        "a next hop on another interface is redirected to, from that interface's address",
        rule,
        sent(packet(), action="redirect:7", src_mac="02:00:00:00:07:fe"),
        forwarded(packet("A"), action="redirect:7", src_mac="02:00:00:00:07:fe"),
        sent(packet(sport=2), server=1, note="the next flow goes out where it came in"),
        fixture="behind",
    )
    file.case(
        "without a resolved next hop a packet is dropped; the flow stays with its server",
        "the list of reasons; the flow as with ip_vs",
        dropped(packet(), "drop-no-next-hop"),
        at(forwarded(packet("A"), note="resolved by now"), apply="seed"),
        fixture="unresolved",
    )
    file.case(
        "TTL 1 comes before a missing next hop",
        "RFC 1812, 5.3.1: forwarding ends there; as with ip_vs",
        dropped(packet(ttl=2), "drop-no-next-hop"),
        fixture="unresolved",
    )
    replay(
        file,
        "a server on the link whose ARP goes unanswered gets nothing",
        ("RS on link, ARP fails", {"reason": "drop-no-next-hop"}),
        fixture="ipvs_unresolved",
    )
    replay(
        file,
        "a real server without a route: the client is told",
        ("no route to RS", {"answer": "host-unreachable"}),
        fixture="ipvs_unroutable",
    )
    file.write()


def encapsulate():
    file = File("encapsulate", "The outer header, and what changes in the inner one")
    for ttl in (255, 128, 64, 3, 2):
        replay(file, f"TTL {ttl} is one less inside, and the same outside", f"SYN ttl={ttl}")
    for tos in ("00", "01", "02", "03", "28", "29", "2a", "2b", "b8", "bb", "ff"):
        replay(file, f"TOS {tos}: DSCP is copied, ECN is by RFC 3168", f"tos {tos}")
    for bits, name in [
        ("4000", "DF is copied, and then the outer identification is 0"),
        ("0000", "without DF the outer has none either"),
        ("8000", "the reserved bit is not copied"),
        ("c000", "the reserved bit is not copied beside DF"),
    ]:
        replay(file, name, f"frag field {bits} id=1234")
    replay(
        file,
        "with DF every outer identification is 0",
        *[f"DF, id seq {n}" for n in range(4)],
    )
    replay(
        file,
        "without DF the outer identification is free",
        *[f"noDF, id seq {n}" for n in range(5)],
    )
    replay(file, "options stay inside: NOP", "opt NOP x4")
    replay(file, "options stay inside: router alert", "opt router alert")
    replay(file, "options stay inside: security", "opt security/CIPSO-like")
    replay(file, "padding after the packet is cut", "IP total length < frame (trailing padding)")
    replay(
        file,
        "a data offset below the minimum is not ours to judge",
        "TCP doff=2",
        fixture="ipvs_rs2",
    )
    replay(file, "a wrong TCP checksum is not ours to judge", "TCP SYN bad checksum")
    replay(file, "source port 0 is a port", "TCP SYN port 0 src")
    replay(file, "a full-size packet without DF fits", "flow for mtu", "noDF inner len=1480")

    minimal = packet()
    padded = sent(minimal)
    padded["frame"] = Ether(bytes(padded["frame"]) + bytes(6))
    file.case("the padding of a minimal frame is cut", RFC2003, padded)
    tagged = sent(minimal, tags=[(CUSTOMER, 5, 0)])
    tagged["frame"] = Ether(bytes(tagged["frame"]) + b"\xaa" * 20)
    file.case("padding behind a tag is cut", RFC2003, tagged)
    file.case(
        "a header with all 40 bytes of options is wrapped",
        RFC2003,
        sent(packet(options=[IPOption(b"\x01" * 40)])),
        forwarded(packet("PA", length=100, options=[IPOption_Router_Alert()])),
    )
    # The checksum after the decrement is 0: the edge at which incremental updates go wrong.
    for checksum in (0xFEFF, 0xFF00, 0xFEFE, 0x0000):
        probe = IP(bytes(packet(id=0)))
        probe.id = (probe.chksum - checksum) % 0xFFFF
        del probe.chksum
        probe = IP(bytes(probe))
        assert probe.chksum == checksum, hex(probe.chksum)
        file.case(
            f"the inner checksum {checksum:#06x} is right after the decrement",
            "RFC 1624, 5; computed anew by scapy",
            sent(probe),
        )
    wrong = IP(bytes(packet()))
    out = IP(bytes(wrapped(wrong, 0, 63)[IP].payload))
    wrong.chksum += 0x0101
    out.chksum += 0x0101
    step = sent(wrong)
    outer = bytes(step["out"])[:34]
    step["out"] = Ether(outer + bytes(out))
    file.case(
        "a wrong inner header checksum stays wrong, so that the real server sees it",
        "RFC 1624, 5 (ip_vs's host drops it on input)",
        step,
    )
    file.case(
        "a frame of more than 1500 bytes is wrapped where the path takes it",
        RFC2003,
        sent(packet(length=2900)),
        fixture="jumbo",
    )
    file.case(
        "a payload that looks like a packet is payload",
        RFC2003,
        to_udp(sent(ip() / udp() / Raw(bytes(ip() / UDP())))),
    )
    file.write()
