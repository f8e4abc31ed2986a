//! A frame as a list of named fields, so that two of them can be compared, and as one word, so that a table of them can be read.
//!
//! Every byte is in some field. Not the pipeline's parser: what checks the director must not share its code.

use super::{
    network::{self, Port},
    packet::checksum,
};

/// A field's name and value.
pub(crate) type Field = (String, String);

/// The fields of a frame from the destination MAC on.
pub(crate) fn fields(frame: &[u8]) -> Vec<Field> {
    let mut fields = Fields(Vec::new());
    fields.ethernet(frame);
    fields.0
}

/// The names of the fields in which two frames differ.
pub(crate) fn differences(one: &[u8], other: &[u8]) -> Vec<String> {
    let (one, other) = (fields(one), fields(other));
    let names = |these: &[Field], those: &[Field]| -> Vec<String> {
        these.iter().filter(|field| !those.contains(field)).map(|(name, _)| name.clone()).collect()
    };
    let mut differing = names(&one, &other);
    for name in names(&other, &one) {
        if !differing.contains(&name) {
            differing.push(name);
        }
    }
    differing
}

struct Fields(Vec<Field>);

impl Fields {
    fn push(&mut self, name: String, value: &dyn ToString) {
        self.0.push((name, value.to_string()));
    }

    fn hex(&mut self, name: String, bytes: &[u8]) {
        if !bytes.is_empty() {
            let value: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            self.push(name, &value.concat());
        }
    }

    fn ethernet(&mut self, frame: &[u8]) {
        let (Some(header), Some(rest)) = (frame.first_chunk::<14>(), frame.get(14..)) else {
            return self.hex("frame".to_owned(), frame);
        };
        self.hex("to".to_owned(), &header[..6]);
        self.hex("from".to_owned(), &header[6..12]);
        self.hex("type".to_owned(), &header[12..]);
        match header[12..] {
            [0x08, 0x00] => self.ipv4("", rest, Identification::MayDiffer),
            [0x81, 0x00] if rest.len() >= 4 => {
                self.hex("tag".to_owned(), &rest[..4]);
                self.ipv4("", &rest[4..], Identification::MayDiffer);
            }
            _ => self.hex("content".to_owned(), rest),
        }
    }

    fn ipv4(&mut self, prefix: &str, bytes: &[u8], identification: Identification) {
        let name = |field: &str| format!("{prefix}{field}");
        let header_length = bytes.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        if bytes.len() < header_length || header_length < 20 {
            return self.hex(name("packet"), bytes);
        }
        let (header, rest) = bytes.split_at(header_length);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let outermost = identification == Identification::MayDiffer;
        self.push(name("version and header length"), &format!("{:#x}", header[0]));
        self.push(name("TOS"), &format!("{:#04x}", header[1]));
        self.push(name("length"), &length);
        if outermost && header[6] & 0x40 == 0 {
            // Any will do for a packet that may be cut into fragments.
            self.push(name("identification"), &"any");
        } else {
            self.hex(name("identification"), &header[4..6]);
        }
        self.hex(name("flags and offset"), &header[6..8]);
        self.push(name("TTL"), &header[8]);
        self.push(name("protocol"), &header[9]);
        if outermost {
            let right = checksum(header) == 0;
            self.push(name("checksum"), &if right { "right" } else { "wrong" });
        } else {
            self.hex(name("checksum"), &header[10..12]);
        }
        self.hex(name("source"), &header[12..16]);
        self.hex(name("destination"), &header[16..20]);
        self.hex(name("options"), &header[20..]);
        let (body, padding) = rest.split_at(length.saturating_sub(header_length).min(rest.len()));
        self.hex(name("padding"), padding);
        let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
        match (header[9], body) {
            (4, _) if first => self.ipv4(&name("inner "), body, Identification::Counts),
            (1, [_, _, _, _, _, _, _, _, quote @ ..]) if first => {
                self.push(name("ICMP type and code"), &format!("{}/{}", body[0], body[1]));
                self.hex(name("ICMP checksum"), &body[2..4]);
                self.hex(name("ICMP data"), &body[4..8]);
                if matches!(body[0], 3 | 4 | 5 | 11 | 12) {
                    self.ipv4(&name("quoted "), quote, Identification::Counts);
                } else {
                    self.hex(name("ICMP payload"), quote);
                }
            }
            (6, [_, _, _, _, ..]) if first && body.len() >= 20 => {
                self.hex(name("TCP ports"), &body[..4]);
                self.hex(name("TCP numbers"), &body[4..12]);
                self.hex(name("TCP flags"), &body[12..14]);
                self.hex(name("TCP rest"), &body[14..]);
            }
            _ => self.hex(name("payload"), body),
        }
    }
}

/// Whether a packet's identification, where it means something, is the same for every engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identification {
    MayDiffer,
    Counts,
}

/// The short name of a frame that left the director: `rs2` for an encapsulated packet to real server 2.
pub(crate) fn label(port: Port, frame: &[u8]) -> String {
    let fields = fields(frame);
    let value = |name: &str| {
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    };
    let hex = |bytes: [u8; 4]| bytes.map(|byte| format!("{byte:02x}")).concat();
    if value("type") == Some("0806") {
        return "ARP reply".to_owned();
    }
    if value("protocol") == Some("4") {
        let numbered = (1..=u8::MAX).map(|number| (format!("rs{number}"), network::server(number)));
        let named = [("one-armed", network::ONE_ARMED), ("narrow", network::NARROW)]
            .map(|(name, server)| (name.to_owned(), server));
        let to = named
            .into_iter()
            .chain(numbered)
            .find(|(_, server)| value("destination") == Some(hex(server.octets()).as_str()))
            .map_or_else(|| "elsewhere".to_owned(), |(name, _)| name);
        let inner = if value("inner protocol") == Some("1") { " ICMP" } else { "" };
        return format!("{to}{inner}{}", piece(&frame[14..]));
    }
    if let Some(kind) = value("ICMP type and code") {
        let to = if port == Port::Clients { "" } else { " to the servers" };
        return match kind {
            "0/0" => format!("echo reply{to}"),
            "3/4" => {
                let mtu = value("ICMP data").and_then(|data| u32::from_str_radix(data, 16).ok());
                format!("ICMP 3/4 mtu {}{to}", mtu.unwrap_or_default())
            }
            kind => format!("ICMP {kind}{to}"),
        };
    }
    match value("TCP flags") {
        Some("5004") => "RST".to_owned(),
        Some("5014") => "RST+ACK".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// Of a fragment, which bytes of the whole packet's payload it has.
fn piece(packet: &[u8]) -> String {
    let [a, b, c, d] = [2, 3, 6, 7].map(|index| packet[index]);
    let (length, flags) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if flags & 0x3fff == 0 {
        return String::new();
    }
    let start = (flags & 0x1fff) * 8;
    let end = if flags & 0x2000 == 0 { String::new() } else { (start + length - 20).to_string() };
    format!("[{start}..{end}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Flow;

    fn frame(packet: &[u8]) -> Vec<u8> {
        network::frame(Port::Clients, packet)
    }

    #[test]
    fn every_byte_is_in_some_field() {
        let flow = Flow::new(network::client(1), network::vip(0, 0), 80);
        let mut outer =
            crate::packet::Packet::new(network::DIRECTOR_SERVERS, network::server(2), 4.into());
        outer.payload = flow.syn().bytes();
        let whole = frame(&outer.bytes());
        for index in 0..whole.len() {
            let mut changed = whole.clone();
            changed[index] ^= 1;
            assert_ne!(fields(&changed), fields(&whole), "byte {index}");
        }
        assert_eq!(label(Port::Servers, &whole), "rs2");
    }

    #[test]
    fn identification_counts_only_where_it_is_the_same_for_all() {
        let flow = Flow::new(network::client(1), network::vip(0, 0), 80);
        let with = |id, packet: crate::packet::Packet| frame(&packet.id(id).bytes());
        let may_fragment = || flow.syn().may_fragment();
        assert_eq!(differences(&with(1, may_fragment()), &with(2, may_fragment())), [""; 0]);
        assert_eq!(differences(&with(1, flow.syn()), &with(2, flow.syn())), ["identification"]);
    }
}
