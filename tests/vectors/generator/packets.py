"""Packets, and what should become of them, built by scapy."""

from scapy.all import ICMP, IP, TCP, UDP, Dot1AD, Dot1Q, Ether, Raw

from .fixtures import (
    CLIENT,
    DIRECTOR,
    DIRECTOR_MAC,
    ROUTER_MAC,
    RS1,
    RS1_MAC,
    RS2,
    RS2_MAC,
    VIP,
)

SERVERS = [(RS1, RS1_MAC), (RS2, RS2_MAC)]
TOS_OF_ERRORS = 0xC0  # RFC 1812, 4.3.2.5: precedence "internetwork control"


def ip(ttl=64, flags="DF", **more):
    return IP(src=more.pop("src", CLIENT), dst=more.pop("dst", VIP), ttl=ttl, flags=flags, **more)


def tcp(flags="S", sport=33456, dport=80, **more):
    return TCP(sport=sport, dport=dport, flags=flags, seq=1000, **more)


def udp(sport=4000, dport=53, **more):
    return UDP(sport=sport, dport=dport, **more)


def payload(length, byte=b"x"):
    return Raw(byte * length)


def received(packet, tags=(), dst=DIRECTOR_MAC, src=ROUTER_MAC):
    """A frame as the router sends it; tags are (class, TCI fields)."""
    frame = Ether(dst=dst, src=src)
    for kind, vlan, priority in tags:
        frame = frame / kind(vlan=vlan, prio=priority)
    return Ether(bytes(frame / packet))


def rebuilt(packet, **changes):
    """The IP packet with some fields changed and all checksums of its header computed anew."""
    packet = IP(bytes(packet))
    for field, new in changes.items():
        setattr(packet, field, new)
    del packet.chksum
    return IP(bytes(packet))


def wrapped(inner, server, inner_ttl, tos=0, df=True, vlan=None, src_mac=DIRECTOR_MAC):
    """What goes to a real server: `inner` with this TTL, in an outer packet with these fields.

    Where DF is clear the identification is the director's choice (RFC 6864, 4.1); the vector masks
    it."""
    address, mac = SERVERS[server]
    frame = Ether(dst=mac, src=src_mac)
    if vlan is not None:
        frame = frame / Dot1Q(vlan=vlan)
    outer = IP(
        src=DIRECTOR, dst=address, proto=4, ttl=inner_ttl, tos=tos, flags="DF" if df else 0, id=0
    )
    return frame / outer / rebuilt(inner, ttl=inner_ttl)


def sent(packet, server=0, inner_ttl=63, new=True, action="tx", tags=(), note=None, **outer):
    """A step whose packet goes to a real server."""
    inner = IP(bytes(packet))
    out = wrapped(inner, server, inner_ttl, **outer)
    step = {
        "note": note,
        "frame": received(packet, tags),
        "action": action,
        "reason": "scheduled" if new else "forwarded",
        "out": out,
        "server": server,
        "bytes": inner.len,
    }
    if not outer.get("df", True):
        step["random_id"] = [18 if outer.get("vlan") is not None else 14]
    return step


def forwarded(packet, server=0, **more):
    return sent(packet, server, new=False, **more)


def ended(frame, action, reason, note=None):
    return {"note": note, "frame": frame, "action": action, "reason": reason}


def dropped(packet, reason, note=None, **more):
    return ended(received(packet, **more), "drop", reason, note)


def passed(packet, reason, note=None, **more):
    return ended(received(packet, **more), "pass", reason, note)


def reset(packet, reason="reset-no-flow", tags=(), note=None):
    """A step answered by a TCP reset from the VIP, by RFC 9293, 3.10.7.1."""
    was = IP(bytes(packet))
    segment = was[TCP]
    if segment.flags.A:
        answer = TCP(seq=segment.ack, ack=0, flags="R")
    else:
        data = was.len - was.ihl * 4 - segment.dataofs * 4
        count = data + bool(segment.flags.S) + bool(segment.flags.F)
        answer = TCP(seq=0, ack=(segment.seq + count) % 2**32, flags="RA")
    answer.sport, answer.dport, answer.window = segment.dport, segment.sport, 0
    out = IP(src=was.dst, dst=was.src, ttl=64, tos=was.tos, id=0, flags="DF") / answer
    return {
        "note": note,
        "frame": received(packet, tags),
        "action": "tx",
        "reason": reason,
        "out": received(out, tags, dst=ROUTER_MAC, src=DIRECTOR_MAC),
    }


def icmp_error(packet, reason, message, quote, tags=(), note=None, trailer=b""):
    """A step answered by an ICMP error from the VIP with this quote."""
    quote = bytes(quote)
    answer = IP(
        src=IP(bytes(packet)).dst,
        dst=IP(bytes(packet)).src,
        ttl=64,
        tos=TOS_OF_ERRORS,
        id=0,
    )
    out = received(answer / message / Raw(quote), tags, dst=ROUTER_MAC, src=DIRECTOR_MAC)
    frame = received(packet, tags)
    if trailer:
        frame = Ether(bytes(frame) + trailer)
    return {
        "note": note,
        "frame": frame,
        "action": "tx",
        "reason": reason,
        "out": out,
        "random_id": [14 + 4 * len(tags)],
    }


def fragmentation_needed(packet, mtu, quote, **more):
    """RFC 1191: type 3, code 4, the next hop's MTU in the last two bytes."""
    message = ICMP(type=3, code=4, nexthopmtu=mtu)
    return icmp_error(packet, "fragmentation-needed", message, quote, **more)


def time_exceeded(packet, quote, **more):
    return icmp_error(packet, "time-exceeded", ICMP(type=11, code=0), quote, **more)


def port_unreachable(packet, quote, **more):
    return icmp_error(packet, "port-unreachable", ICMP(type=3, code=3), quote, **more)


def protocol_unreachable(packet, quote, **more):
    return icmp_error(packet, "protocol-unreachable", ICMP(type=3, code=2), quote, **more)


def no_server(packet, quote, **more):
    return icmp_error(packet, "no-server", ICMP(type=3, code=3), quote, **more)


def at(step, now=None, apply=None):
    """The step at a time, or after a change of the tables."""
    if now is not None:
        step["now"] = now
    if apply is not None:
        step["apply"] = apply
    return step


CUSTOMER, PROVIDER = Dot1Q, Dot1AD
