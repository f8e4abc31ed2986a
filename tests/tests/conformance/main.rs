//! Whether tunlb does what IPVS does: the same services in both, the same packets to both, and every frame that leaves compared.
//!
//! `cargo xtask conformance` runs it in a virtual machine with a kernel that has ip_vs, and prints the table. A case is a name and
//! a few lines in `cases/`; nothing says what it should give, since IPVS says that. Where tunlb does otherwise, the case stands in
//! docs/ipvs-differences.md under a heading with the reason; a difference that is not there fails the test, and so does one that
//! is there no longer. The table is kept in docs/ipvs-conformance.md.

mod cases;
mod differences;
mod engine;
mod frame;
mod network;
mod packet;
mod play;
mod script;
mod table;

use std::{collections::BTreeSet, fs, io::Write as _, path::Path};

use engine::{Ipvs, Tunlb};
use script::{Case, Recorded, Script};
use table::Row;

/// Every case; those whose name has `TUNLB_CONFORMANCE` in it, if that is set.
fn recorded() -> Vec<Recorded> {
    let only = std::env::var("TUNLB_CONFORMANCE").unwrap_or_default();
    let mut recorded = Vec::new();
    for (number_of_section, section) in cases::SECTIONS.iter().enumerate() {
        for (number, (name, case)) in section.cases.iter().enumerate() {
            let (vip, port) = if section.local {
                (network::LOCAL_VIP, u16::try_from(2000 + number).expect("a port"))
            } else {
                (network::vip(number_of_section, number), 80)
            };
            let mut steps = Script::record(vip, port, *case);
            let prepared =
                if section.typed { Vec::new() } else { script::take_commands(&mut steps) };
            recorded.push(Recorded { section: section.title, name, vip, prepared, steps });
        }
    }
    recorded.retain(|case| case.name.contains(&only));
    recorded
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let all: Vec<&Case> = cases::SECTIONS.iter().flat_map(|section| section.cases).collect();
    let names: BTreeSet<_> = all.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn every_listed_difference_has_a_case_that_shows_it() {
    let listed = differences::listed();
    let mut cases: Vec<&str> = Vec::new();
    for difference in &listed {
        assert!(!difference.cases.is_empty(), "\"{}\" lists no case", difference.title);
        cases.extend(difference.cases.iter().map(String::as_str));
    }
    let known = |case: &str| {
        cases::SECTIONS.iter().any(|section| section.cases.iter().any(|(name, _)| *name == case))
    };
    for (index, case) in cases.iter().enumerate() {
        assert!(known(case), "`{case}` is no case");
        assert!(!cases[..index].contains(case), "`{case}` is listed twice");
    }
}

#[test]
fn tunlb_does_what_ipvs_does_or_the_documents_say_why_not() {
    if let Some(missing) = Ipvs::missing() {
        assert!(
            std::env::var_os("TUNLB_REQUIRE_IPVS").is_none(),
            "TUNLB_REQUIRE_IPVS is set, and {missing}"
        );
        // Not through the captured output of tests: that is shown of failures only.
        let _ = writeln!(std::io::stderr(), "NOT RUN: conformance with IPVS: {missing}");
        return;
    }
    let prefix = format!("conf{}", std::process::id());
    let cases = recorded();
    let ipvs = Ipvs::start(&prefix, &cases).expect("ip_vs");
    let ipvs = play::play(&ipvs, &cases).expect("ip_vs");
    let tunlb = Tunlb::start(&prefix).expect("tunlb");
    let tunlb = play::play(&tunlb, &cases).expect("tunlb");
    let played = ipvs.into_iter().zip(tunlb);
    let row = |(case, (ipvs, tunlb)): (&Recorded, _)| {
        let Recorded { section, name, .. } = case;
        Row::new(section, name, ipvs, tunlb)
    };
    let rows: Vec<_> = cases.iter().zip(played).map(row).collect();

    let listed = differences::listed();
    let table = table::render(&rows, &listed);
    // Seen also when the test succeeds.
    let _ = writeln!(std::io::stdout(), "{table}");
    let mut complaints = table::complaints(&rows, &listed);
    if let Some(path) = std::env::var_os("TUNLB_CONFORMANCE_TABLE") {
        fs::write(Path::new(&path), &table).expect("writes the table");
    } else if std::env::var_os("TUNLB_CONFORMANCE").is_none() {
        let kept = fs::read_to_string(table::document("ipvs-conformance.md")).unwrap_or_default();
        complaints.extend(table::outdated(&kept, &table));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
