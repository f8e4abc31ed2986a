"""The tables that vectors start with: the seed's network, and the one in which ip_vs was measured."""

import copy

DIRECTOR_MAC = "02:00:00:00:19:fe"
ROUTER_MAC = "02:00:00:00:19:01"
OTHER_MAC = "02:00:00:00:19:77"
RS1_MAC = "02:00:00:00:19:02"
RS2_MAC = "02:00:00:00:19:03"

CLIENT = "192.168.18.250"
DIRECTOR = "192.168.19.254"
VIP = "192.168.19.100"
LOCAL_VIP = "192.168.19.101"
RS1 = "192.168.19.2"
RS2 = "192.168.19.3"

TCP, UDP = 6, 17
INTERFACE = 1


def server(address, next_hop, source=DIRECTOR, weight=1, mtu=1500, **more):
    return {
        "address": address,
        "source": source,
        "weight": weight,
        "interface": INTERFACE,
        "next_hop": next_hop,
        "source_mac": DIRECTOR_MAC,
        "mtu": mtu,
    } | more


def service(address, port, protocol, servers, lookup=None):
    if lookup is None:
        lookup = list(range(len(servers)))
    return {
        "address": address,
        "port": port,
        "protocol": protocol,
        "lookup": lookup,
        "server": copy.deepcopy(servers),
    }


def director(services, owned=(VIP,), local=(), limit=1000):
    return {
        "mac": DIRECTOR_MAC,
        "limit": limit,
        "owned": list(owned),
        "local": list(local),
        "service": services,
    }


def both(servers, lookup=None, vip=VIP):
    """The seed's service, and one for UDP."""
    return [service(vip, 80, TCP, servers, lookup), service(vip, 53, UDP, servers, lookup)]


RS = [server(RS1, RS1_MAC), server(RS2, RS2_MAC)]

# ip_vs was measured with these addresses; MAC addresses are ours.
IPVS_VIP = "10.9.9.9"
IPVS_SOURCE = "10.2.0.1"
IPVS_RS = [
    server("10.3.0.11", RS1_MAC, source=IPVS_SOURCE),
    server("10.3.0.12", RS2_MAC, source=IPVS_SOURCE),
]


def changed(servers, *changes):
    """The servers, each with its changes."""
    return [server | change for server, change in zip(servers, changes)]


def ipvs(lookup, servers=IPVS_RS, local=False):
    services = both(servers, lookup, IPVS_VIP) + [
        service(IPVS_VIP, 8080, TCP, []),
        service(IPVS_VIP, 8080, UDP, []),
        service(IPVS_VIP, 8081, TCP, [server("10.3.0.11", RS1_MAC, weight=0)], []),
        service(IPVS_VIP, 8081, UDP, [server("10.3.0.11", RS1_MAC, weight=0)], []),
    ]
    vips = [IPVS_VIP]
    return director(services, owned=[] if local else vips, local=vips if local else [])


def scheduled(vip, scheduler, flags, weights, before, port=80):
    """A service whose servers 1, 2, … were added in this order: it lists the last one first."""
    macs = [RS1_MAC, RS2_MAC, "02:00:00:00:19:04", "02:00:00:00:19:05"]
    servers = [
        server(f"10.3.0.1{n + 1}", macs[n], source=IPVS_SOURCE, weight=weights[n], last_weight=before[n])
        for n in reversed(range(len(weights)))
    ]
    result = service(vip, port, TCP, servers)
    del result["lookup"]
    return {
        "address": result.pop("address"),
        "port": result.pop("port"),
        "protocol": result.pop("protocol"),
        "scheduler": scheduler,
        "scheduler_flags": flags,
    } | result


# Scheduler, flags, weights, and the weights before some became 0: cases of ipvs_mappings.json.
SCHEDULED = {
    "sh": ("sh", [], [1, 2, 3], [1, 2, 3]),
    "sh_port": ("sh", ["sh-port"], [1, 2, 3], [1, 2, 3]),
    "sh_quiesced": ("sh", [], [1, 0, 1], [1, 1, 1]),
    "sh_fallback": ("sh", ["sh-fallback"], [1, 0, 1], [1, 1, 1]),
    "sh_fallback_port": ("sh", ["sh-fallback", "sh-port"], [0, 1, 0, 1], [3, 1, 2, 1]),
    "sh_heavy": ("sh", [], [2147483647, 1, 1], [2147483647, 1, 1]),
    "mh": ("mh", [], [1, 2, 3], [1, 2, 3]),
    "mh_port": ("mh", ["mh-port"], [1, 2, 3], [1, 2, 3]),
    "mh_quiesced": ("mh", [], [1, 0, 1], [1, 1, 1]),
    "mh_fallback": ("mh", ["mh-fallback"], [0, 0, 3, 2], [5, 4, 3, 2]),
    "mh_fallback_port": ("mh", ["mh-fallback", "mh-port"], [3, 1, 0], [3, 1, 2]),
    "mh_last_one": ("mh", ["mh-fallback"], [1, 0, 0, 0], [1, 1, 1, 1]),
    "mh_heavy": ("mh", [], [2147483647, 1, 1], [2147483647, 1, 1]),
}
# Of ipvs_destinations.json, four VIPs each.
DESTINATIONS = {
    "dh_equal": ([1, 1, 1], 104),
    "dh_heavy": ([3, 1, 1], 106),
    "dh_quiesced": ([5, 0, 2, 1], 109),
}


def destinations(weights, octet):
    vips = [f"10.{octet}.{number * 37 % 256}.{(number * 91 + 5) % 256}" for number in range(4)]
    services = [scheduled(vip, "dh", [], weights, weights) for vip in vips]
    return director(services, owned=vips)


FIXTURES = {
    "seed": director(both(RS), local=(LOCAL_VIP,)),
    "two_services": director(
        [service(VIP, 80, TCP, RS), service(VIP, 443, TCP, RS), service(VIP, 443, UDP, RS)]
    ),
    "local": director(both(RS, vip=LOCAL_VIP), owned=(), local=(LOCAL_VIP,)),
    # Weighted round robin of weights 3 and 1, beginning with a round of everybody.
    "weighted": director(both(changed(RS, {"weight": 3}, {}), [0, 1, 0, 0])),
    "quiesced": director(both(changed(RS, {"weight": 0}, {}), [1])),
    "all_quiesced": director(both(changed(RS, {"weight": 0}, {"weight": 0}), [])),
    "no_servers": director(both([])),
    "removed": director(both(changed(RS, {"removed": True}, {}), [1])),
    # The lookup table still names a server whose entry is free.
    "half_replaced": director(both(changed(RS, {"removed": True}, {}), [0])),
    "unresolved": director(both(changed(RS, {"interface": 0}, {}))),
    "behind": director(
        both(changed(RS, {"interface": 7, "source_mac": "02:00:00:00:07:fe"}, {"mtu": 1400}))
    ),
    "tagged": director(both(changed(RS, {"vlan": 119}, {"vlan": 4094, "interface": 7}))),
    "tagged_here": director(both(changed(RS, {"vlan": 119}, {"vlan": 1}))),
    "narrow": director(both(changed(RS, {"mtu": 120}, {"mtu": 120}))),
    "mtu_1000": director(both(changed(RS, {"mtu": 1000}, {"mtu": 1000}))),
    "mtu_0": director(both(changed(RS, {"mtu": 0}, {"mtu": 19}))),
    "jumbo": director(both(changed(RS, {"mtu": 3000}, {"mtu": 3000}))),
    "limit_0": director(both(RS), limit=0),
    "limit_2": director(both(RS), limit=2),
    "ipvs_rs1": ipvs([0]),
    "ipvs_rs2": ipvs([1]),
    "ipvs_rr": ipvs([1, 0]),
    "ipvs_local": ipvs([1, 0], local=True),
    "ipvs_rs1_removed": ipvs([1], changed(IPVS_RS, {"removed": True}, {})),
    "ipvs_rs2_removed": ipvs([0], changed(IPVS_RS, {}, {"removed": True})),
    "ipvs_mtu_1000": ipvs([0], changed(IPVS_RS, {"mtu": 1000}, {})),
    "ipvs_mtu_1300": ipvs([0], changed(IPVS_RS, {"mtu": 1300}, {})),
    "ipvs_mtu_100": ipvs([0], changed(IPVS_RS, {"mtu": 100}, {})),
    "ipvs_mtu_88": ipvs([0], changed(IPVS_RS, {"mtu": 88}, {})),
    "ipvs_mtu_87": ipvs([0], changed(IPVS_RS, {"mtu": 87}, {})),
    "ipvs_mtu_80": ipvs([0], changed(IPVS_RS, {"mtu": 80}, {})),
    "ipvs_unroutable": ipvs([0], changed(IPVS_RS, {"interface": 2**32 - 1}, {})),
    "ipvs_unresolved": ipvs([0], changed(IPVS_RS, {"interface": 0}, {})),
    "real_server": {
        "mac": RS1_MAC,
        "limit": 1000,
        "tunnel_ends": [RS1],
        "served": [VIP],
    },
}

FIXTURES |= {
    f"ipvs_{name}": director([scheduled(IPVS_VIP, *case)], owned=[IPVS_VIP])
    for name, case in SCHEDULED.items()
}
FIXTURES |= {f"ipvs_{name}": destinations(*case) for name, case in DESTINATIONS.items()}
