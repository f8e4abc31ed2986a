"""Flows on their way to real servers."""

from .fixtures import LOCAL_VIP
from .ipvs import replay
from .output import File
from .packets import (
    at,
    dropped,
    forwarded,
    ip,
    no_server,
    passed,
    payload,
    port_unreachable,
    reset,
    sent,
    tcp,
    udp,
)

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
        reset(packet("A", src="192.168.18.251", sport=33457)),
    )
    states = (
        "measured: ip_vs's state table (conn_reuse_mode 1: TIME_WAIT and CLOSE take a SYN anew)"
    )
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
        ("flags [A] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [PA] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [F] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [FA] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [R] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [RA] unknown flow", {"reason": "drop-no-flow"}),
        "flags [SA] unknown flow",
        "flags [SF] unknown flow",
        ("flags [SR] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [SRA] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [SFR] unknown flow", {"reason": "drop-no-flow"}),
        ("flags [] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [P] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [U] unknown flow", {"answer": "reset-no-flow"}),
        ("flags [E] unknown flow", {"answer": "reset-no-flow"}),
        "flags [SEC] unknown flow",
        "flags [SPU] unknown flow",
        ("flags [FPU] unknown flow", {"answer": "reset-no-flow"}),
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
        ("B data after removal", {"apply": "ipvs_rs1_removed", "gone": True}),
        ("B data after removal, expire_nodest=1", {"gone": True}),
        ("B SYN", {"forget": True}),
        source="measured: ip_vs of Linux 6.1, Tunnel mode, expire_nodest_conn=1",
    )
    replay(
        file,
        "a SYN right after the removal of its server goes to another",
        "open D",
        "ack D",
        (
            "D SYN right after removal, expire_nodest=1",
            {"apply": "ipvs_rs1_removed", "forget": True},
        ),
        source="measured: ip_vs of Linux 6.1, Tunnel mode, expire_nodest_conn=1",
    )
    replay(
        file,
        "a server that comes back has its flows again",
        "open B (2)",
        "ack B",
        ("B data after removal", {"apply": "ipvs_rs1_removed", "gone": True}),
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
                at(
                    forwarded(packet(last), note="the last tick, and the timer starts again"),
                    now=start + ticks,
                )
            )
            start += ticks
        file.case(
            f"{name} ends after {seconds} s without a packet",
            TIMEOUTS,
            *steps,
            at(
                reset(packet("A"), note="one tick too late"),
                now=start + ticks + 1,
            ),
            memory_only=NO_CLOCK,
        )
    file.case(
        "ages are right where the 16 bits of the time wrap",
        TIMEOUTS,
        at(sent(packet()), now=65530),
        at(forwarded(packet("A")), now=65540),
        at(forwarded(packet("A")), now=65540 + 839),
        at(reset(packet("A")), now=65540 + 839 + 840),
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
        "wrr serves a heavy server several times in a row",
        "measured: ip_vs's wrr of weights 3 and 1, the heavy one first in its list",
        *[sent(packet(sport=1 + n), server=[0, 1, 0, 0][n % 4]) for n in range(8)],
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
    replay(
        file, "a SYN to a service without servers is answered", "TCP SYN service without servers"
    )
    replay(
        file, "a datagram to a service without servers is answered", "UDP service without servers"
    )
    replay(
        file,
        "a SYN to a service whose servers have weight 0 is answered",
        "TCP SYN service all weight 0",
    )
    replay(
        file,
        "a datagram to a service whose servers have weight 0 is answered",
        "UDP service all weight 0",
    )
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
        "a non-SYN to a service without servers is reset",
        "measured: ip_vs hands it to the host's stack, which resets",
        reset(packet("A")),
        fixture="no_servers",
    )
    file.case(
        "an owned VIP's other ports are answered as a kernel would",
        "RFC 9293, 3.10.7.1; RFC 1122, 4.1.3.1",
        reset(ip() / tcp(dport=81), "reset-no-service"),
        reset(ip() / tcp("A", dport=81), "reset-no-service"),
        dropped(ip() / tcp("R", dport=81), "drop-no-service", note="resets are not answered"),
        port_unreachable(datagram(dport=80), datagram(dport=80)),
    )
    file.case(
        "other ports of a VIP that is the director's own pass",
        "the list of reasons",
        passed(ip(dst=LOCAL_VIP) / tcp(dport=81), "pass-local-vip"),
        passed(datagram(dst=LOCAL_VIP, dport=81), "pass-local-vip"),
        fixture="local",
    )
    file.write()
