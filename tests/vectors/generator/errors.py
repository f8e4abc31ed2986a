"""ICMP errors that the director sends in a VIP's name."""

from scapy.all import IPOption

from .forwarding import NO_CLOCK, datagram, packet, to_udp
from .ipvs import replay
from .output import File
from .packets import (
    CUSTOMER,
    PROVIDER,
    at,
    dropped,
    forwarded,
    fragmentation_needed,
    no_server,
    rebuilt,
    sent,
    time_exceeded,
)

QUOTE = 576 - 20 - 8  # RFC 1812, 4.3.2.3
LONGER = "measured: ip_vs sends fragments; no fragments yet, so a named drop"


def mtu():
    file = File("mtu", "Packets that are too big for the real server's path")
    quoting = "RFC 1191, RFC 1812 4.3.2.3; TTL quoted as measured with ip_vs; built by scapy"
    opened = "flow for mtu"

    def too_big(probe, mtu, **more):
        return fragmentation_needed(probe, mtu, bytes(rebuilt(probe, ttl=63))[:QUOTE], **more)

    replay(file, "1480 bytes fit into 1500", opened, "DF inner len=1480")
    replay(file, "1481 bytes with DF do not fit", opened, "DF inner len=1481")
    replay(file, "1500 bytes with DF do not fit", opened, "DF inner len=1500")
    replay(
        file,
        "without DF a packet that does not fit is dropped",
        opened,
        ("noDF inner len=1481", {"reason": "drop-too-big"}),
        ("noDF inner len=1500", {"reason": "drop-too-big"}),
        ("noDF UDP len=1500 new flow", {"reason": "drop-too-big"}),
        source=LONGER,
    )
    replay(file, "a new UDP flow's first datagram may be too big", "DF UDP len=1500 new flow")
    replay(file, "a SYN may be too big", "DF SYN oversize new flow (is a conn created?)")
    for mtu, length, kind in [
        ("mtu_1000", "d1 mtu 1000: DF len=1000", "too big"),
        ("mtu_1000", "d1 mtu 1000: DF len=980", "as long as fits"),
        ("mtu_1300", "route mtu 1300 DF len=1400", "too big"),
        ("mtu_100", "d1 mtu 100: DF len=60", "shorter than the path's MTU"),
        ("mtu_88", "d1 mtu 88: DF len=60", "for IPv4's minimum MTU"),
    ]:
        replay(
            file,
            f"a packet {kind}: {length}",
            opened,
            (length, {"apply": f"ipvs_{mtu}"}),
        )
    for mtu, key in [("87", "d1 mtu 87: DF len=60"), ("80", "d1 mtu 80: DF len=60")]:
        replay(
            file,
            f"a path MTU of {mtu} leaves less than 68 bytes: nothing can be sent",
            opened,
            (key, {"apply": f"ipvs_mtu_{mtu}", "reason": "drop-path-mtu"}),
        )
    file.case(
        "a path MTU below the overhead drops, and does not wrap around",
        "measured: ip_vs drops below 68 bytes",
        dropped(packet(), "drop-path-mtu"),
        dropped(packet(sport=2), "drop-path-mtu"),
        fixture="mtu_0",
    )
    for length in (101, 102, 103, 104, QUOTE - 1, QUOTE):
        probe = packet("S", length=length - 40)
        file.case(
            f"a packet of {len(probe)} bytes is quoted whole",
            quoting,
            too_big(probe, 100),
            fixture="narrow",
        )
    for extra in (1, 2, 3):
        probe = packet("S", length=QUOTE - 40 + extra)
        file.case(
            f"of a packet of {len(probe)} bytes, {QUOTE} are quoted",
            quoting,
            too_big(probe, 100),
            fixture="narrow",
        )
    probe = packet("S", length=200)
    file.case(
        "the padding of a frame is not quoted",
        quoting,
        too_big(probe, 100, trailer=b"\xaa" * 7),
        fixture="narrow",
    )
    file.case(
        "options of the packet are quoted",
        quoting,
        too_big(packet("S", length=101, options=[IPOption(b"\x01" * 8)]), 100),
        fixture="narrow",
    )
    for tags in ([(CUSTOMER, 119, 3)], [(PROVIDER, 7, 0), (CUSTOMER, 119, 3)]):
        file.case(
            f"an error answers under the packet's tags: {len(tags)}",
            quoting,
            too_big(packet("S", length=1441), 1480, tags=tags),
            fixture="seed",
        )
    file.case(
        "the flow is opened all the same",
        "measured: ip_vs makes the connection entry before it finds the packet too big",
        too_big(packet(length=1441), 1480),
        forwarded(packet("A")),
        sent(packet(sport=2), server=1),
        too_big(packet("PA", length=1441), 1480, note="a packet of the flow"),
        forwarded(packet("PA", length=1440)),
    )
    file.case(
        "the next packet after a changed path MTU is told the new one",
        "RFC 1191",
        sent(packet()),
        forwarded(packet("PA", length=1440)),
        at(too_big(packet("PA", length=1440), 980), apply="mtu_1000"),
        forwarded(packet("PA", length=940)),
    )
    file.write()


def ttl_exceeded():
    file = File("ttl_exceeded", "Packets whose TTL ends at the director")
    rule = "RFC 1812, 5.3.1 and 4.3.2.3; built by scapy"
    replay(file, "TTL 1", "SYN ttl=1")
    replay(file, "TTL 0", "SYN ttl=0")
    file.case(
        "a datagram of odd length is quoted whole",
        rule,
        time_exceeded(datagram(ttl=1, length=19), datagram(ttl=1, length=19)),
    )
    long = packet("S", ttl=1, length=1000)
    file.case(
        "of a long packet 548 bytes are quoted, its TTL as it came",
        rule,
        time_exceeded(long, bytes(long)[:QUOTE]),
    )
    file.case(
        "a packet too big whose TTL ends has no MTU told",
        "measured: ip_vs looks at the TTL first",
        time_exceeded(
            packet("S", ttl=1, length=1441), bytes(packet("S", ttl=1, length=1441))[:QUOTE]
        ),
    )
    file.case(
        "a tagged packet is answered under its tag",
        rule,
        time_exceeded(packet(ttl=1), packet(ttl=1), tags=[(CUSTOMER, 119, 0)]),
    )
    file.case(
        "without DF as with DF",
        rule,
        time_exceeded(datagram(ttl=1, flags=0), datagram(ttl=1, flags=0)),
    )
    file.case(
        "the flow is opened all the same, and the scheduler moves on",
        "measured: ip_vs makes the connection entry and advances rr",
        time_exceeded(packet(ttl=1), packet(ttl=1)),
        sent(packet(sport=2), server=1),
        forwarded(packet("A")),
        time_exceeded(packet("A", ttl=1), packet("A", ttl=1), note="a packet of the flow"),
    )
    file.write()


def limits():
    file = File("limits", "The limit on ICMP errors")
    rule = "the limit of the fixture: 2 a tick"
    probe = packet(ttl=1)

    def error():
        return time_exceeded(probe, probe)

    file.case(
        "beyond the limit an error is dropped; other packets go on",
        rule,
        error(),
        error(),
        dropped(probe, "drop-rate-limited"),
        dropped(datagram(ttl=1), "drop-rate-limited"),
        forwarded(packet("A")),
        fixture="limit_2",
    )
    file.case(
        "the limit is renewed with the next tick",
        rule,
        at(error(), now=100),
        error(),
        dropped(probe, "drop-rate-limited"),
        at(error(), now=101),
        error(),
        dropped(probe, "drop-rate-limited"),
        fixture="limit_2",
        memory_only=NO_CLOCK,
    )
    big = packet("S", sport=2, length=1441)
    file.case(
        "the limit is on all errors together",
        rule,
        error(),
        fragmentation_needed(big, 1480, bytes(rebuilt(big, ttl=63))[:QUOTE]),
        at(dropped(packet(sport=3), "drop-rate-limited"), apply="all_quiesced"),
        fixture="limit_2",
    )
    file.case(
        "a limit of 0 sends no error",
        "the limit of the fixture: 0",
        dropped(probe, "drop-rate-limited"),
        to_udp(sent(datagram())),
        fixture="limit_0",
    )
    file.case(
        "no server: answered up to the limit",
        rule,
        no_server(packet(), packet()),
        no_server(datagram(), datagram()),
        fixture="no_servers",
    )
    file.write()
