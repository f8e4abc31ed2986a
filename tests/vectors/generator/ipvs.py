"""What a running ip_vs did, as steps of vectors. The data is in ../ipvs/wire.json."""

import json

from scapy.all import IP, Ether

from .fixtures import DIRECTOR_MAC, IPVS_RS, ROUTER_MAC
from .output import FOLDER
from .packets import reset

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


def step(key, seen, apply=None, reason=None, answer=None, gone=False, note=None):
    """The steps of one record; `reason` names what ip_vs cannot tell: why nothing left. `answer`
    names why the client got an answer, where its bytes do not tell; `gone` says that the flow's
    server is, which tunlb answers as ip_vs does under expire_nodest_conn=1."""
    record = RECORDS[key]
    assert len(record["sent"]) == 1, key
    sent = expand(record["sent"][0])
    frame = Ether(bytes(Ether(dst=DIRECTOR_MAC, src=ROUTER_MAC, type=0x0800)) + sent)
    result = {"note": note or key, "frame": frame}
    if apply:
        result["apply"] = apply
    if gone:
        return result | reset(IP(sent), note=note or key)
    flow = flow_of(IP(sent))
    if record["to_rs"] and reason is None:
        (outer,) = map(expand, record["to_rs"])
        if flow[2] == 1:
            # An error about a flow, which the quote names in reverse.
            quote = IP(sent[IP(sent).ihl * 4 + 8 :])
            ports = bytes(quote)[quote.ihl * 4 :][:4]
            flow = quote.dst, quote.src, quote.proto, ports[2:] + ports[:2]
            assert flow in seen, key
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
        (sent_back,) = map(expand, record["to_client"])
        is_icmp = IP(sent_back).proto == 1
        result |= {
            "action": "tx",
            "reason": answer or ERRORS[(sent_back[20], sent_back[21])],
            "out": Ether(bytes(Ether(dst=ROUTER_MAC, src=DIRECTOR_MAC, type=0x0800)) + sent_back),
        }
        if is_icmp:
            result["random_id"] = [14]
            # The flow is there all the same.
            if sent_back[20:22] != b"\x03\x03":
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
