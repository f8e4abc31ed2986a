"""What a running ip_vs did, as steps of vectors. The data is in ../ipvs/wire.json."""

import json

from scapy.all import IP, Ether

from .fixtures import DIRECTOR_MAC, IPVS_RS, ROUTER_MAC
from .output import FOLDER

SOURCE = "measured: ip_vs of Linux 6.1, Tunnel mode"
ERRORS = {(3, 3): "no-server", (3, 4): "fragmentation-needed", (11, 0): "time-exceeded"}


def expand(text):
    """The reverse of output.shorten."""
    data = b""
    for word in text.split():
        digits, _, times = word.partition("*")
        data += bytes.fromhex(digits) * int(times or 1)
    return data


RECORDS = json.loads((FOLDER / "ipvs" / "wire.json").read_text())


def flow_of(packet):
    """Addresses, protocol and ports."""
    return packet.src, packet.dst, packet.proto, bytes(packet)[packet.ihl * 4 :][:4]


def step(key, seen, apply=None, reason=None, note=None):
    """The steps of one record; `reason` names what ip_vs cannot tell: why nothing left."""
    record = RECORDS[key]
    assert len(record["sent"]) == 1, key
    sent = expand(record["sent"][0])
    frame = Ether(bytes(Ether(dst=DIRECTOR_MAC, src=ROUTER_MAC, type=0x0800)) + sent)
    result = {"note": note or key, "frame": frame}
    if apply:
        result["apply"] = apply
    flow = flow_of(IP(sent))
    if record["to_rs"] and reason is None:
        (outer,) = map(expand, record["to_rs"])
        address = IP(outer).dst
        position = [server["address"] for server in IPVS_RS].index(address)
        mac = IPVS_RS[position]["next_hop"]
        result |= {
            "action": "tx",
            "reason": "forwarded" if flow in seen else "scheduled",
            "out": Ether(bytes(Ether(dst=mac, src=DIRECTOR_MAC, type=0x0800)) + outer),
            "server": position + (2 if flow[2] == 17 else 0),
            "bytes": IP(sent).len,
        }
        seen.add(flow)
        if not outer[6] & 0x40:
            result["random_id"] = [14]
    elif record["to_client"] and reason is None:
        (answer,) = map(expand, record["to_client"])
        assert IP(answer).proto == 1, key
        result |= {
            "action": "tx",
            "reason": ERRORS[(answer[20], answer[21])],
            "out": Ether(bytes(Ether(dst=ROUTER_MAC, src=DIRECTOR_MAC, type=0x0800)) + answer),
            "random_id": [14],
        }
        # The flow is there all the same.
        if answer[20:22] != b"\x03\x03":
            seen.add(flow)
    else:
        action = "pass" if reason.startswith("pass") else "drop"
        result |= {"action": action, "reason": reason}
    return result


def replay(file, name, *keys, fixture="ipvs_rs1", source=SOURCE):
    """A vector from records; each is a key, or a key and what `step` should know."""
    seen = set()
    steps = []
    for key in keys:
        more = {}
        if isinstance(key, tuple):
            key, more = key
        if more.pop("forget", False):
            seen.clear()
        steps.append(step(key, seen, **more))
    file.case(name, source, *steps, fixture=fixture)
