"""Flows on their way to real servers."""

from scapy.all import IP, UDP, Ether, IPOption, IPOption_Router_Alert, Raw

from .fixtures import LOCAL_VIP
from .ipvs import replay
from .output import File
from .packets import (
    CUSTOMER,
    PROVIDER,
    at,
    dropped,
    forwarded,
    ip,
    no_server,
    passed,
    payload,
    sent,
    tcp,
    udp,
    wrapped,
)

RFC2003 = "RFC 2003, 3.1; built by scapy"
TIMEOUTS = "measured: ip_vs's timeouts; a tick is 2^30 ns, timeouts are rounded up to ticks"
NO_CLOCK = "the kernel's clock cannot be set"


def packet(flags="S", sport=33456, length=0, **more):
    result = ip(**more) / tcp(flags, sport=sport)
    return result / payload(length) if length else result


def datagram(sport=4000, length=18, dport=53, **more):
    return ip(**more) / udp(sport=sport, dport=dport) / payload(length)


def to_udp(step):
    """The step with the UDP service's servers: they are numbered after those of TCP."""
    return step | {"server": step["server"] + 2}


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
    file.write()


def tcp_flow():
    file = File("tcp_flow", "TCP flows: opened by a SYN, kept with their real server")
    flow = "RFC 9293 flags; every packet of a flow goes to the server of its SYN"
    file.case(
        "a connection from SYN to FIN stays with its server",
        flow,
        sent(packet()),
        sent(packet(sport=2), server=1, note="another flow, another server"),
        forwarded(packet("A")),
        forwarded(packet("PA", length=200)),
        forwarded(packet("A", sport=2), server=1),
        forwarded(packet("PA", length=1440), note="a full segment"),
        forwarded(packet("FA")),
        forwarded(packet("A")),
        forwarded(packet("FA", sport=2), server=1),
    )
    file.case(
        "flows differ by address and port",
        flow,
        sent(packet()),
        sent(packet(sport=33457), server=1),
        sent(packet(src="192.168.18.251")),
        forwarded(packet("A", sport=33457), server=1),
        forwarded(packet("A", src="192.168.18.251")),
        forwarded(packet("A")),
        dropped(packet("A", src="192.168.18.251", sport=33457), "drop-no-flow"),
    )
    states = "measured: ip_vs's state table (conn_reuse_mode 1: TIME_WAIT and CLOSE take a SYN anew)"
    for name, flags in [
        ("a SYN in SYN_RECV is a retransmission", []),
        ("a SYN in ESTABLISHED keeps its server", ["A"]),
        ("a SYN in FIN_WAIT keeps its server", ["A", "FA"]),
    ]:
        file.case(
            name,
            states,
            sent(packet()),
            *[forwarded(packet(flag)) for flag in flags],
            forwarded(packet("S")),
        )
    for name, flags in [
        ("a SYN after a reset opens a new flow", ["A", "R"]),
        ("a SYN in TIME_WAIT opens a new flow", ["F"]),
        ("a SYN after a segment without flags opens a new flow", ["A", ""]),
        ("a SYN after a segment with URG only opens a new flow", ["U"]),
    ]:
        file.case(
            name,
            states,
            sent(packet()),
            *[forwarded(packet(flag)) for flag in flags],
            sent(packet("S"), server=1),
            forwarded(packet("A"), server=1),
        )
    file.case(
        "a reset in SYN_RECV leaves the flow half-open",
        states,
        sent(packet()),
        forwarded(packet("R")),
        forwarded(packet("S")),
    )
    replay(
        file,
        "which first packets open a flow, in turn",
        "flags [S] unknown flow",
        ("flags [A] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [PA] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [F] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [FA] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [R] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [RA] unknown flow", {"reason": "drop-no-flow"}),
        "flags [SA] unknown flow",
        "flags [SF] unknown flow",
        ("flags [SR] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [SRA] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [SFR] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [P] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [U] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [E] unknown flow", {"reason": "drop-no-flow"}),
        "flags [SEC] unknown flow",
        "flags [SPU] unknown flow",
        ("flags [FPU] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [SFPAUR] unknown flow", {"reason": "drop-no-flow"}),
        fixture="ipvs_rr",
    )
    replay(
        file,
        "what opens no flow passes where the VIP is the director's own",
        ("flags [A] unknown flow", {"reason": "pass-local-vip"}),
        ("flags [R] unknown flow", {"reason": "pass-local-vip"}),
        ("TCP SYN to VIP port without service", {"reason": "pass-local-vip"}),
        ("UDP to VIP port without service", {"reason": "pass-local-vip"}),
        "flags [S] unknown flow",
        fixture="ipvs_local",
    )
    replay(
        file,
        "weight 0 keeps a server's flows and gives it no new ones",
        "open A",
        "ack A",
        ("A data after weight 0", {"apply": "ipvs_rs1"}),
        "new flow (weight 0 for A's server)",
        "new flow (weight 0 for A's server) (2)",
        "new flow (weight 0 for A's server) (3)",
        "SYN again on established A (weight 0)",
        "A fin",
        "SYN on closing A (same 4-tuple; weight 0; conn_reuse_mode 1)",
        fixture="ipvs_rs2",
    )
    replay(
        file,
        "a removed server gets nothing more; a SYN goes to another",
        "open B (2)",
        "ack B",
        ("B data after removal", {"apply": "ipvs_rs1_removed", "reason": "drop-no-flow"}),
        ("B data after removal, expire_nodest=1", {"reason": "drop-no-flow"}),
        ("B SYN", {"forget": True}),
        source="measured: ip_vs of Linux 6.1, Tunnel mode, expire_nodest_conn=1",
    )
    replay(
        file,
        "a SYN right after the removal of its server goes to another",
        "open D",
        "ack D",
        ("D SYN right after removal, expire_nodest=1", {"apply": "ipvs_rs1_removed", "forget": True}),
        source="measured: ip_vs of Linux 6.1, Tunnel mode, expire_nodest_conn=1",
    )
    replay(
        file,
        "a server that comes back has its flows again",
        "open B (2)",
        "ack B",
        ("B data after removal", {"apply": "ipvs_rs1_removed", "reason": "drop-no-flow"}),
        ("B data after re-add", {"apply": "ipvs_rs1"}),
    )
    for name, opening, seconds in [
        ("a half-open flow", [], 60),
        ("an established flow", ["A"], 900),
        ("a flow in FIN_WAIT", ["A", "FA"], 120),
        ("a reset flow", ["A", "R"], 10),
    ]:
        ticks = -(-seconds * 10**9 // 2**30)
        start = 5000
        steps = [at(sent(packet()), now=start)] + [forwarded(packet(flag)) for flag in opening]
        last = opening[-1] if opening else "S"
        if last != "R":
            steps.append(
                at(forwarded(packet(last), note="the last tick, and the timer starts again"), now=start + ticks)
            )
            start += ticks
        file.case(
            f"{name} ends after {seconds} s without a packet",
            TIMEOUTS,
            *steps,
            at(dropped(packet("A"), "drop-no-flow", note="one tick too late"), now=start + ticks + 1),
            memory_only=NO_CLOCK,
        )
    file.case(
        "ages are right where the 16 bits of the time wrap",
        TIMEOUTS,
        at(sent(packet()), now=65530),
        at(forwarded(packet("A")), now=65540),
        at(forwarded(packet("A")), now=65540 + 839),
        at(dropped(packet("A"), "drop-no-flow"), now=65540 + 839 + 840),
        memory_only=NO_CLOCK,
    )
    file.case(
        "a packet that another CPU dates one tick back finds its flow",
        "a flow is not expired by a packet that came before its last one",
        at(sent(packet()), now=5000),
        at(forwarded(packet("A")), now=5001),
        at(forwarded(packet("PA", length=10), note="this CPU read the clock first"), now=5000),
        memory_only=NO_CLOCK,
    )
    file.write()


def udp_flow():
    file = File("udp", "UDP flows")
    rule = "RFC 768; every datagram of a flow goes to the server of its first"
    file.case(
        "datagrams of one flow stay with their server",
        rule,
        to_udp(sent(datagram())),
        to_udp(forwarded(datagram(length=300))),
        to_udp(sent(datagram(sport=4001), 1)),
        to_udp(forwarded(datagram(sport=4001), 1)),
        to_udp(forwarded(datagram(length=0), note="without payload")),
        to_udp(forwarded(datagram(length=1452), note="as long as fits")),
    )
    file.case(
        "TCP and UDP of one port are two services",
        rule,
        sent(ip() / tcp(dport=443)) | {"server": 2},
        sent(datagram(dport=443)) | {"server": 4},
        forwarded(ip() / tcp("A", dport=443)) | {"server": 2},
        sent(datagram(dport=443, sport=1), 1) | {"server": 5},
        fixture="two_services",
    )
    replay(file, "a datagram is wrapped", "UDP small")
    replay(file, "a datagram without a checksum is wrapped as it is", "UDP zero checksum")
    replay(file, "a datagram with a wrong checksum is wrapped as it is", "UDP bad checksum")
    replay(
        file,
        "a datagram whose own length is too big is wrapped as it is",
        "UDP length field too big",
        fixture="ipvs_rs2",
    )
    replay(
        file,
        "when its server is removed a flow goes to another at once",
        "udp 1",
        ("udp after removal (expire_nodest 1)", {"apply": "ipvs_rs2_removed", "forget": True}),
        "udp again",
        fixture="ipvs_rs2",
        source="measured: ip_vs of Linux 6.1, Tunnel mode, expire_nodest_conn=1",
    )
    ticks = -(-300 * 10**9 // 2**30)
    file.case(
        "a flow ends after 300 s without a datagram; the next opens a new one",
        TIMEOUTS,
        at(to_udp(sent(datagram())), now=1000),
        at(to_udp(forwarded(datagram())), now=1000 + ticks),
        at(to_udp(sent(datagram(), 1)), now=1000 + 2 * ticks + 1),
        memory_only=NO_CLOCK,
    )
    file.case(
        "a datagram that another CPU dates one tick back stays with its server",
        "a flow is not expired by a packet that came before its last one",
        at(to_udp(sent(datagram())), now=5000),
        at(to_udp(forwarded(datagram())), now=5001),
        at(to_udp(forwarded(datagram(), note="this CPU read the clock first")), now=5000),
        memory_only=NO_CLOCK,
    )
    file.write()


def schedule():
    file = File("schedule", "Which real server a new flow gets")
    measured = "measured: ip_vs's rr walks its list of servers in turn"
    file.case(
        "rr walks the servers in turn",
        measured,
        *[sent(packet(sport=1 + n), server=n % 2) for n in range(6)],
    )
    file.case(
        "wrr walks the order that userspace interleaved",
        "the lookup table of the fixture: smooth weighted round robin of 3 and 1",
        *[sent(packet(sport=1 + n), server=[0, 0, 1, 0][n % 4]) for n in range(8)],
        fixture="weighted",
    )
    file.case(
        "each service has a position of its own",
        "a lookup table and a position per service",
        sent(packet(sport=1)),
        sent(ip() / tcp(dport=443)) | {"server": 2},
        sent(packet(sport=2), server=1),
        sent(ip() / tcp(dport=443, sport=2), 1) | {"server": 3},
        sent(packet(sport=3)),
        fixture="two_services",
    )
    file.case(
        "a packet of a known flow does not advance the position",
        measured,
        sent(packet(sport=1)),
        *[forwarded(packet("A", sport=1)) for _ in range(3)],
        sent(packet(sport=2), server=1),
    )
    file.case(
        "a server of weight 0 gets no new flow",
        measured,
        *[sent(packet(sport=1 + n), server=1) for n in range(3)],
        fixture="quiesced",
    )
    replay(file, "a SYN to a service without servers is answered", "TCP SYN service without servers")
    replay(file, "a datagram to a service without servers is answered", "UDP service without servers")
    replay(file, "a SYN to a service whose servers have weight 0 is answered", "TCP SYN service all weight 0")
    replay(file, "a datagram to a service whose servers have weight 0 is answered", "UDP service all weight 0")
    file.case(
        "a service's last server going away ends new flows only",
        "measured: ip_vs answers ICMP 3/3 when no server is usable; known flows go on",
        sent(packet()),
        at(forwarded(packet("A")), apply="all_quiesced"),
        no_server(packet(sport=2), packet(sport=2)),
        at(sent(packet(sport=2), server=1), apply="seed"),
    )
    file.case(
        "a SYN that finds the lookup table half replaced is left to its retransmission",
        "the list of reasons",
        dropped(packet(), "drop-contended"),
        at(sent(packet(), server=1, note="replaced by now"), apply="removed"),
        fixture="half_replaced",
    )
    file.case(
        "a non-SYN to a service without servers is dropped",
        "measured: ip_vs hands it to the host's stack, which resets; no reset yet",
        dropped(packet("A"), "drop-no-flow"),
        fixture="no_servers",
    )
    file.case(
        "an owned VIP's other ports are dropped",
        "the list of reasons",
        dropped(ip() / tcp(dport=81), "drop-no-service"),
        dropped(ip() / tcp("A", dport=81), "drop-no-service"),
        dropped(datagram(dport=80), "drop-no-service"),
    )
    file.case(
        "other ports of a VIP that is the director's own pass",
        "the list of reasons",
        passed(ip(dst=LOCAL_VIP) / tcp(dport=81), "pass-local-vip"),
        passed(datagram(dst=LOCAL_VIP, dport=81), "pass-local-vip"),
        fixture="local",
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
    replay(file, "a data offset below the minimum is not ours to judge", "TCP doff=2", fixture="ipvs_rs2")
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
