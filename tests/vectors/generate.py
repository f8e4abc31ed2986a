#!/usr/bin/env python3
"""Makes the packet vectors in this folder. Needs scapy 2.6 or later; see README.md."""

import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)
sys.dont_write_bytecode = True

from generator import control, fixtures, output  # noqa: E402

output.write_fixtures(fixtures.FIXTURES)
control.arp()
control.echo()
