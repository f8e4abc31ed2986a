#!/usr/bin/env python3
"""Makes the packet vectors in this folder. Needs scapy 2.6 or later; see README.md."""

import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)
sys.dont_write_bytecode = True

from generator import (  # noqa: E402
    control,
    errors,
    fixtures,
    forwarding,
    output,
    realserver,
    refused,
    schedulers,
    tunnel,
)

output.write_fixtures(fixtures.FIXTURES)
control.arp()
control.echo()
tunnel.vlan()
tunnel.redirect()
forwarding.tcp_flow()
forwarding.udp_flow()
forwarding.schedule()
schedulers.schedulers()
tunnel.encapsulate()
errors.mtu()
errors.ttl_exceeded()
errors.limits()
refused.malformed()
refused.protocols()
refused.pass_through()
refused.fragments()
refused.martian()
realserver.unwrap()
