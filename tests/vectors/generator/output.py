"""Writes fixtures and vectors as TOML. Knows nothing of what is right."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent.parent


def shorten(data):
    """Bytes as hexadecimal, runs of ten equal bytes and more as `75*1000`."""
    words = []
    position = 0
    for run in re.finditer(rb"(.)\1{9,}", data, re.DOTALL):
        if run.start() > position:
            words.append(data[position : run.start()].hex())
        words.append(f"{run.group(1).hex()}*{run.end() - run.start()}")
        position = run.end()
    if position < len(data):
        words.append(data[position:].hex())
    return " ".join(words)


def lines(data):
    """Splits a frame into one line per header, for the eye only."""
    result = []

    def take(length):
        nonlocal data
        if data[:length]:
            result.append(data[:length])
        data = data[length:]

    kind = data[12:14]
    take(14)
    while kind in (b"\x81\x00", b"\x88\xa8") and len(data) >= 4:
        kind = data[2:4]
        take(4)
    while kind == b"\x08\x00" and len(data) >= 20:
        protocol = data[9]
        take(max(data[0] & 15, 5) * 4)
        kind = b"\x08\x00" if protocol == 4 else b""
        if protocol in (1, 6, 17):
            icmp_error = protocol == 1 and data[:1] in (b"\x03", b"\x0b", b"\x04")
            take(20 if protocol == 6 else 8)
            kind = b"\x08\x00" if icmp_error else b""
    take(len(data))
    return [shorten(line) for line in result]


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def frame(key, packet):
    text = lines(bytes(packet))
    if len(text) == 1:
        return f'{key} = "{text[0]}"'
    return f'{key} = """\n' + "\n".join(text) + '"""'


class File:
    """A file of vectors under way."""

    def __init__(self, name, about):
        self.name = name
        self.text = [
            "# Made by generate.py; see README.md. Do not edit.",
            "",
            f"about = {quoted(about)}",
        ]
        self.cases = 0

    def case(self, name, source, *steps, fixture="seed", memory_only=None):
        self.cases += 1
        self.text += ["", "[[case]]", f"name = {quoted(name)}", f"source = {quoted(source)}"]
        self.text.append(f"fixture = {quoted(fixture)}")
        if memory_only:
            self.text.append(f"memory_only = {quoted(memory_only)}")
        for step in steps:
            self.text.append("[[case.step]]")
            for key in ("note", "apply"):
                if step.get(key):
                    self.text.append(f"{key} = {quoted(step[key])}")
            if "now" in step:
                self.text.append(f"now = {step['now']}")
            self.text.append(frame("frame", step["frame"]))
            self.text.append(f"action = {quoted(step['action'])}")
            self.text.append(f"reason = {quoted(step['reason'])}")
            if "out" in step:
                self.text.append(frame("out", step["out"]))
            if step.get("random_id"):
                self.text.append(f"random_id = {step['random_id']}")
            if "server" in step:
                self.text.append(f"server = {step['server']}")
                self.text.append(f"bytes = {step['bytes']}")

    def write(self):
        path = FOLDER / f"{self.name}.toml"
        path.write_text("\n".join(self.text) + "\n")
        print(f"{path.name}: {self.cases} cases")


def value(item):
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, int):
        return str(item)
    if isinstance(item, list):
        return "[" + ", ".join(value(part) for part in item) + "]"
    return quoted(item)


def write_fixtures(fixtures):
    text = ["# Made by generate.py; see README.md. Do not edit."]

    def table(header, content, skip):
        text.extend(["", header])
        text.extend(f"{key} = {value(item)}" for key, item in content.items() if key != skip)

    for name, fixture in fixtures.items():
        table(f"[{name}]", fixture, "service")
        for service in fixture.get("service", []):
            table(f"[[{name}.service]]", service, "server")
            for server in service.get("server", []):
                table(f"[[{name}.service.server]]", server, None)
    (FOLDER / "fixtures.toml").write_text("\n".join(text) + "\n")
