"""ARP and ICMP echo: what the director says in a VIP's name."""

from scapy.all import ARP, ICMP, IP, Ether, IPOption, Raw

from .fixtures import DIRECTOR_MAC, LOCAL_VIP, OTHER_MAC, ROUTER_MAC, VIP
from .output import File
from .packets import (
    CUSTOMER,
    PROVIDER,
    dropped,
    ended,
    ip,
    passed,
    payload,
    rebuilt,
    received,
)

ROUTER = "192.168.19.1"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def question(tpa=VIP, spa=ROUTER, op=1, **more):
    return ARP(op=op, hwsrc=ROUTER_MAC, psrc=spa, hwdst="00:00:00:00:00:00", pdst=tpa, **more)


def answer(tpa=ROUTER, spa=VIP):
    return ARP(op=2, hwsrc=DIRECTOR_MAC, psrc=spa, hwdst=ROUTER_MAC, pdst=tpa)


def arp():
    file = File("arp", "ARP for VIPs")
    rfc = "RFC 826, packet generation and reception; built by scapy"

    def answered(name, source=rfc, tags=(), dst=BROADCAST, trailer=b"", spa=ROUTER):
        frame = received(question(spa=spa), tags, dst=dst)
        out = received(answer(tpa=spa), tags, dst=ROUTER_MAC, src=DIRECTOR_MAC)
        step = ended(Ether(bytes(frame) + trailer), "tx", "arp-answered")
        step["out"] = Ether(bytes(out) + trailer)
        file.case(name, source, step)

    def left(name, packet, reason="pass-not-vip", source=rfc, dst=BROADCAST):
        file.case(name, source, passed(packet, reason, dst=dst))

    answered("a broadcast request for an owned VIP is answered")
    answered("a unicast request, as a neighbour probe sends it, is answered", dst=DIRECTOR_MAC)
    answered("a tagged request gets a tagged answer", tags=[(CUSTOMER, 119, 0)])
    answered(
        "a request under two tags gets an answer under both, priorities included",
        tags=[(PROVIDER, 7, 3), (CUSTOMER, 119, 5)],
    )
    answered("the padding of a minimal frame stays", trailer=bytes(18))
    answered(
        "an address probe is answered", "RFC 5227, 2.1.1: sender address 0.0.0.0", spa="0.0.0.0"
    )
    left(
        "a gratuitous request is left to the kernel",
        question(spa=VIP),
        source="RFC 5227, 3: an announcement asks for no answer",
    )
    left("an ARP reply is left to the kernel", question(op=2))
    left("a request for another address is left to the kernel", question(tpa=ROUTER))
    left("a request for a VIP of the director's own is left to the kernel", question(tpa=LOCAL_VIP))
    left("a request sent to another host is left to the kernel", question(), dst=OTHER_MAC)
    left("a request of other hardware is left to the kernel", question(hwtype=6))
    left("a request for another protocol's address is left to the kernel", question(ptype=0x86DD))
    frame = bytes(received(question(), dst=BROADCAST))[:-1]
    file.case(
        "a request that is cut short is left to the kernel",
        rfc,
        ended(Ether(frame), "pass", "pass-not-ipv4"),
    )
    file.write()


def echo():
    file = File("echo", "ICMP echo to VIPs")
    rfc = "RFC 792: addresses reversed, type 0, checksum; built by scapy"

    def answered(name, request, source=rfc, tags=(), trailer=b"", checksum=None):
        step = ended(Ether(bytes(received(request, tags)) + trailer), "tx", "echo-answered")
        reply = IP(bytes(request))
        reply[ICMP].type = 0
        if checksum is None:
            del reply[ICMP].chksum
        else:
            reply[ICMP].chksum = checksum
        reply = rebuilt(reply, src=reply.dst, dst=reply.src, ttl=64)
        out = received(reply, tags, dst=ROUTER_MAC, src=DIRECTOR_MAC)
        step["out"] = Ether(bytes(out) + trailer)
        file.case(name, source, step)

    def request(length=56, id=0x77, seq=1, **more):
        return ip(**more) / ICMP(id=id, seq=seq) / payload(length, b"p")

    answered("an echo request to an owned VIP is answered", request())
    answered("a payload of odd length is answered", request(57))
    answered(
        "a request without payload is answered, its padding stays", request(0), trailer=bytes(18)
    )
    answered("the reply's TTL is the director's own, not the request's", request(ttl=1))
    answered("the reply's TTL is the director's own, from above too", request(ttl=255))
    answered("DSCP and identification of the request stay", request(tos=0xB8, id=9, flags=0))
    answered(
        "IP options of the request stay",
        request(options=[IPOption(b"\x01\x01\x01\x01")]),
    )
    answered("a full-size request is answered", request(1472))
    answered("a tagged request gets a tagged reply", request(), tags=[(CUSTOMER, 119, 5)])
    # At the edges of one's complement: 0xf7ff + 0x0800 gives 0xffff for a reply of zeros only.
    for checksum in (0xF7FF, 0xF800, 0xFFFE):
        probe = IP(bytes(request(0, id=0, seq=0)))
        probe[ICMP].seq = (0xFFFF - checksum - 0x0800) % 0xFFFF
        del probe[ICMP].chksum
        probe = IP(bytes(probe))
        assert probe[ICMP].chksum == checksum, hex(probe[ICMP].chksum)
        answered(
            f"the checksum {checksum:#06x} is carried over",
            probe,
            "RFC 1071: one's complement sums; built by scapy",
        )
    wrong = IP(bytes(request()))
    wrong[ICMP].chksum -= 0x0101
    reply = IP(bytes(request()))
    reply[ICMP].type = 0
    del reply[ICMP].chksum
    answered(
        "a wrong checksum stays wrong by as much, so that the client sees it",
        wrong,
        "RFC 1624, equation 3 (ip_vs's host drops the request on input)",
        checksum=IP(bytes(reply))[ICMP].chksum - 0x0101,
    )
    ours = "the list of reasons"
    for name, message in [
        ("a request with a code", ICMP(code=1)),
        ("an echo reply", ICMP(type=0)),
        ("a timestamp request", ICMP(type=13, ts_ori=1, ts_rx=2, ts_tx=3)),
        ("a redirect", ICMP(type=5)),
    ]:
        file.case(
            f"{name} to an owned VIP is dropped",
            ours,
            dropped(ip() / message / payload(8), "drop-icmp"),
        )
    file.case(
        "an echo request to a VIP of the director's own is left to its kernel",
        ours,
        passed(request(dst=LOCAL_VIP), "pass-local-vip"),
    )
    file.case(
        "an echo request cut short is dropped",
        "RFC 792: the header is 8 bytes long",
        dropped(ip(proto=1) / Raw(bytes(ICMP())[:7]), "drop-malformed"),
        dropped(ip(proto=1), "drop-malformed"),
    )
    file.case(
        "an echo request in fragments is dropped",
        ours,
        dropped(request(flags="MF"), "drop-fragment"),
    )
    for source in ("255.255.255.255", "224.0.0.1", "127.0.0.1", "0.0.0.0", VIP):
        file.case(
            f"an echo request from {source} is not answered",
            "RFC 1122, 3.2.1.3 and 3.2.2: no answer to an address that is no single host's",
            dropped(request(src=source), "drop-martian"),
        )
    file.write()
