"""The schedulers' choices as a running ip_vs made them; see lb-userspace/tests/schedulers.rs."""

import json

from scapy.all import IP, Ether

from .fixtures import DIRECTOR_MAC, FIXTURES, IPVS_SOURCE, IPVS_VIP, ROUTER_MAC, SCHEDULED
from .output import FOLDER, File
from .packets import ip, no_server, rebuilt, received, tcp

DATA = FOLDER.parent.parent / "lb-userspace" / "tests" / "data"
MAPPINGS = json.loads((DATA / "ipvs_mappings.json").read_text())
DESTINATIONS = json.loads((DATA / "ipvs_destinations.json").read_text())
SOURCE = "measured: choices of ip_vs of Linux 6.1"
# What a client does besides opening; the flow stays with its server.
MORE = 2


def opened(packet, server, position, new=True):
    """A step whose packet goes to this server of a fixture."""
    inner = IP(bytes(packet))
    outer = IP(src=server["source"], dst=server["address"], proto=4, ttl=63, flags="DF", id=0)
    frame = Ether(dst=server["next_hop"], src=DIRECTOR_MAC)
    return {
        "note": None,
        "frame": received(packet),
        "action": "tx",
        "reason": "scheduled" if new else "forwarded",
        "out": frame / outer / rebuilt(inner, ttl=63),
        "server": position,
        "bytes": inner.len,
    }


def steps(fixture, clients, choices, vip):
    """SYNs of clients, each to the server that ip_vs chose (0: refused, by ICMP 3/3)."""
    service = next(s for s in FIXTURES[fixture]["service"] if s["address"] == vip)
    result = []
    for number, ((source, port), choice) in enumerate(zip(clients, choices)):
        packet = ip(src=source, dst=vip) / tcp(sport=port)
        if choice == "0":
            result.append(no_server(packet, packet))
            continue
        addresses = [server["address"] for server in service["server"]]
        position = addresses.index(f"10.3.0.1{choice}")
        result.append(opened(packet, service["server"][position], position))
        if number < MORE:
            packet = ip(src=source, dst=vip) / tcp("A", sport=port)
            result.append(opened(packet, service["server"][position], position, new=False))
    return result


def schedulers():
    file = File("schedulers", "Which real server ip_vs's schedulers give a new flow")
    for name, (scheduler, flags, weights, before) in SCHEDULED.items():
        changes = [f"-e {n + 1} -w 0" for n, w in enumerate(weights) if w == 0 and before[n]]
        wanted = {"scheduler": scheduler, "flags": flags, "weights": before, "changes": changes}
        # sh takes no notice of what a weight was before.
        found = [
            case
            for case in MAPPINGS["cases"]
            if all(case[key] == value for key, value in wanted.items())
            and case["added"] == sorted(case["added"])
        ]
        assert found, name
        choices = found[0]["choices"][:16]
        title = " ".join([scheduler, ",".join(flags), "of weights", ",".join(map(str, before))])
        if changes:
            title += ", then " + " and ".join(changes)
        fixture = f"ipvs_{name}"
        file.case(
            " ".join(title.split()),
            SOURCE,
            *steps(fixture, MAPPINGS["clients"], choices, IPVS_VIP),
            fixture=fixture,
        )
    for case, fixture in zip(DESTINATIONS, ["ipvs_dh_equal", "ipvs_dh_heavy", "ipvs_dh_quiesced"]):
        some = []
        for vip, choice in list(zip(case["vips"], case["choices"]))[:4]:
            offset = 4 * case["vips"].index(vip)
            count = len(case["weights"])
            for port in (1000, 2000):
                (step,) = steps(fixture, [("10.1.0.2", port)], choice, vip)[:1]
                if "server" in step:
                    step["server"] += count * (offset // 4)
                some.append(step)
        file.case(
            f"dh of weights {','.join(map(str, case['weights']))} goes by the VIP",
            SOURCE,
            *some,
            fixture=fixture,
        )
    file.write()
