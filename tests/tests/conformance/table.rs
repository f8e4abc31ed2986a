//! The result as a table, which is kept in docs/ipvs-conformance.md.

use std::path::{Path, PathBuf};

use super::{
    differences::{self, Difference},
    frame,
    play::Observation,
};

/// A document of the project.
pub(crate) fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// A case, played to both.
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) case: &'static str,
    ipvs: Vec<Observation>,
    tunlb: Vec<Observation>,
    /// Whether both did the same; if not, the fields that differ, or nothing where the words for it do.
    same: Result<(), String>,
}

impl Row {
    pub(crate) fn new(
        section: &'static str,
        case: &'static str,
        ipvs: Vec<Observation>,
        tunlb: Vec<Observation>,
    ) -> Self {
        let same = compare(&ipvs, &tunlb);
        Self { section, case, ipvs, tunlb, same }
    }
}

fn compare(ipvs: &[Observation], tunlb: &[Observation]) -> Result<(), String> {
    if words(ipvs) != words(tunlb) {
        return Err(String::new());
    }
    let mut fields: Vec<String> = Vec::new();
    for (ipvs, tunlb) in ipvs.iter().zip(tunlb) {
        if let (Observation::Left(ipvs), Observation::Left(tunlb)) = (ipvs, tunlb) {
            for ((_, ipvs), (_, tunlb)) in ipvs.iter().zip(tunlb) {
                for field in frame::differences(ipvs, tunlb) {
                    if !fields.contains(&field) {
                        fields.push(field);
                    }
                }
            }
        }
    }
    if fields.is_empty() { Ok(()) } else { Err(fields.join(", ")) }
}

/// Nothing left the director.
const NOTHING: &str = "–";

/// How many packets are written with a word for each.
const SHORT: usize = 20;

/// What was seen, in words; what came out for one packet is joined by `+`.
fn words(observations: &[Observation]) -> String {
    let word = |observation: &Observation| match observation {
        Observation::Refused(_) => "refused".to_owned(),
        Observation::Left(frames) if frames.is_empty() => NOTHING.to_owned(),
        Observation::Left(frames) => {
            let labels: Vec<_> =
                frames.iter().map(|(port, bytes)| frame::label(*port, bytes)).collect();
            labels.join(" + ")
        }
    };
    let words: Vec<_> = observations.iter().map(word).collect();
    if words.len() > SHORT {
        // In a long row, the numbers of the servers alone.
        let digit = |word: &String| match word.strip_prefix("rs") {
            Some(number) if number.len() == 1 => Some(number.to_owned()),
            _ => (word == NOTHING).then(|| word.clone()),
        };
        if let Some(digits) = words.iter().map(digit).collect::<Option<Vec<_>>>() {
            return format!(
                "rs {}",
                digits.chunks(10).map(<[_]>::concat).collect::<Vec<_>>().join(" ")
            );
        }
    }
    let separator = if words.iter().any(|word| word.contains(' ')) { ", " } else { " " };
    words.join(separator)
}

/// The document.
pub(crate) fn render(rows: &[Row], listed: &[Difference]) -> String {
    let same = rows.iter().filter(|row| row.same.is_ok()).count();
    let mut text = format!(
        "# Conformance with IPVS\n\n\
         Written by `cargo xtask conformance --accept`; do not edit.\n\n\
         Each case was played, in one run on Debian's stock kernel, to ip_vs under the real `ipvsadm` and to tunlb: the same services, the\n\
         same packets, and what left the director for each packet, compared in every byte but the identification of packets that may be\n\
         fragmented. {same} of {} cases are the same; the others stand in [ipvs-differences.md](ipvs-differences.md), each with its\n\
         reason.\n\n\
         The columns have a word for each packet that was sent: `rs2` is an encapsulated packet to the real server that was added second,\n\
         `{NOTHING}` is nothing; answers go to the client. Of more than {SHORT} packets only the servers' numbers are given.\n",
        rows.len()
    );
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = row.section;
            text.push_str(&format!(
                "\n## {section}\n\n| case | IPVS | tunlb | same? |\n|---|---|---|---|\n"
            ));
        }
        let same = match &row.same {
            Ok(()) => "yes".to_owned(),
            Err(fields) => {
                let title = differences::title(listed, row.case).unwrap_or("not listed");
                let fields = if fields.is_empty() { String::new() } else { format!(" ({fields})") };
                format!("no: {title}{fields}")
            }
        };
        text.push_str(&format!(
            "| {} | {} | {} | {same} |\n",
            row.case,
            words(&row.ipvs),
            words(&row.tunlb)
        ));
    }
    text
}

/// What is wrong with the result: differences that are not listed, and listed ones that are not there.
pub(crate) fn complaints(rows: &[Row], listed: &[Difference]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        let title = differences::title(listed, row.case);
        match (&row.same, title) {
            (Err(_), None) => complaints.push(format!(
                "`{}` differs and does not stand in docs/ipvs-differences.md:\n{}",
                row.case,
                details(row)
            )),
            (Ok(()), Some(title)) => complaints.push(format!(
                "`{}` is the same for both: remove it from docs/ipvs-differences.md, \"{title}\"",
                row.case
            )),
            (Err(_), Some(_)) | (Ok(()), None) => {}
        }
    }
    complaints
}

/// What is wrong with the table that is kept: the lines that are in only one of the two.
pub(crate) fn outdated(kept: &str, table: &str) -> Option<String> {
    if kept == table {
        return None;
    }
    let mut text = "docs/ipvs-conformance.md is not the table of this run; see what has changed, then `cargo xtask conformance \
                    --accept`:\n"
        .to_owned();
    for (mark, one, other) in [("-", kept, table), ("+", table, kept)] {
        for line in one.lines().filter(|line| !other.lines().any(|there| there == *line)) {
            text.push_str(&format!("{mark} {line}\n"));
        }
    }
    Some(text)
}

/// What each did with each packet, field by field where they differ.
fn details(row: &Row) -> String {
    let mut text = String::new();
    for (number, (ipvs, tunlb)) in (1..).zip(row.ipvs.iter().zip(&row.tunlb)) {
        let one = std::slice::from_ref;
        text.push_str(&format!(
            "  {number}: IPVS {}; tunlb {}\n",
            words(one(ipvs)),
            words(one(tunlb))
        ));
        match (ipvs, tunlb) {
            (Observation::Left(ipvs), Observation::Left(tunlb)) => {
                for ((_, ipvs), (_, tunlb)) in ipvs.iter().zip(tunlb) {
                    let (of_ipvs, of_tunlb) = (frame::fields(ipvs), frame::fields(tunlb));
                    for name in frame::differences(ipvs, tunlb) {
                        let value = |fields: &[frame::Field]| {
                            let found = fields.iter().find(|(field, _)| *field == name);
                            found.map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
                        };
                        text.push_str(&format!(
                            "     {name}: {} / {}\n",
                            value(&of_ipvs),
                            value(&of_tunlb)
                        ));
                    }
                }
            }
            (_, Observation::Refused(said)) | (Observation::Refused(said), _) => {
                text.push_str(&format!("     {said}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        network::{self, Port},
        packet::{Flow, Packet},
    };

    fn encapsulated(server: u8, ttl: u8) -> Observation {
        let flow = Flow::new(network::client(1), network::vip(0, 0), 80);
        let mut outer =
            Packet::new(network::DIRECTOR_SERVERS, network::server(server), 4.into()).ttl(ttl);
        outer.payload = flow.syn().bytes();
        Observation::Left(vec![(Port::Servers, network::frame(Port::Servers, &outer.bytes()))])
    }

    fn row(ipvs: Observation, tunlb: Observation) -> Row {
        Row::new("section", "case", vec![ipvs], vec![tunlb])
    }

    fn listed(case: &str) -> Vec<Difference> {
        vec![Difference { title: "Meant so".to_owned(), cases: vec![case.to_owned()] }]
    }

    #[test]
    fn difference_in_one_byte_is_complained_of_unless_it_is_listed() {
        let rows = [row(encapsulated(1, 63), encapsulated(1, 62))];
        let said = complaints(&rows, &listed("another case"));
        assert!(said[0].contains("TTL: 63 / 62"), "{said:?}");
        assert_eq!(complaints(&rows, &listed("case")), [""; 0]);
        assert!(
            render(&rows, &listed("case")).contains("| case | rs1 | rs1 | no: Meant so (TTL) |")
        );
    }

    #[test]
    fn listed_difference_that_is_gone_is_complained_of() {
        let rows = [row(encapsulated(1, 63), encapsulated(1, 63))];
        assert!(complaints(&rows, &listed("case"))[0].contains("remove it"));
        assert_eq!(complaints(&rows, &[]), [""; 0]);
    }

    #[test]
    fn table_of_another_run_is_complained_of_line_by_line() {
        assert_eq!(outdated("same\nold\n", "same\nold\n"), None);
        let complaint = outdated("same\nold\n", "same\nnew\n").expect("a complaint");
        assert!(complaint.ends_with("- old\n+ new\n"), "{complaint}");
    }
}
