//! Frames as vectors write them, and as a person reads them when two differ.

use std::fmt::Write as _;

use etherparse::{IpNumber, NetSlice, SlicedPacket};
use serde::{Deserialize, Deserializer, de::Error};

/// A frame, written as hexadecimal words; `75*1000` stands for a thousand bytes 75.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl Frame {
    fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        for word in text.split_whitespace() {
            let (hex, times) = match word.split_once('*') {
                Some((hex, times)) => (hex, times.parse().map_err(|_| format!("bad `{word}`"))?),
                None => (word, 1),
            };
            if hex.len() % 2 != 0 || !hex.is_ascii() {
                return Err(format!("`{word}` is not whole bytes"));
            }
            let digits = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
            let part: Vec<u8> = digits
                .map(|digits| u8::from_str_radix(digits, 16).map_err(|_| format!("bad `{word}`")))
                .collect::<Result<_, _>>()?;
            bytes.extend(part.repeat(times));
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Both frames as hexadecimal lines of 16 bytes, those that differ marked, and what they are.
pub(super) fn difference(expected: &[u8], actual: &[u8]) -> String {
    let mut text = format!(
        "expected {} bytes: {}\n  actual {} bytes: {}\n",
        expected.len(),
        summary(expected),
        actual.len(),
        summary(actual)
    );
    for offset in (0..expected.len().max(actual.len())).step_by(16) {
        let [want, got] = [expected, actual]
            .map(|frame| frame.get(offset..frame.len().min(offset + 16)).unwrap_or_default());
        if want == got {
            let _ = writeln!(text, "   {offset:04x}  {}", hex(want));
        } else {
            let _ = writeln!(text, " - {offset:04x}  {}", hex(want));
            let _ = writeln!(text, " + {offset:04x}  {}", hex(got));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// What etherparse makes of a frame, in one line.
fn summary(frame: &[u8]) -> String {
    SlicedPacket::from_ethernet(frame).map_or_else(|e| format!("not parsed: {e}"), describe)
}

fn describe(packet: SlicedPacket<'_>) -> String {
    let mut text: String =
        packet.vlan_ids().iter().map(|id| format!("vlan {} ", id.value())).collect();
    let Some(NetSlice::Ipv4(ip)) = packet.net else {
        let _ = write!(text, "{:?}", packet.net);
        return text;
    };
    let header = ip.header();
    let _ = write!(
        text,
        "{} > {} ttl {} tos {:#04x} id {} df {} length {} protocol {}",
        header.source_addr(),
        header.destination_addr(),
        header.ttl(),
        header.dcp().value() << 2 | header.ecn().value(),
        header.identification(),
        header.dont_fragment(),
        header.total_len(),
        header.protocol().0,
    );
    if header.protocol() == IpNumber::IPV4 {
        let inner = SlicedPacket::from_ip(ip.payload().payload);
        let inner = inner.map_or_else(|e| format!("not parsed: {e}"), describe);
        let _ = write!(text, " | {inner}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_hexadecimal_words_with_repeats() {
        assert_eq!(Frame::parse("0a0b\n 0c 75*3"), Ok(Frame(vec![10, 11, 12, 0x75, 0x75, 0x75])));
        assert!(Frame::parse("0a0").is_err());
        assert!(Frame::parse("0g").is_err());
        assert!(Frame::parse("00*x").is_err());
    }
}
