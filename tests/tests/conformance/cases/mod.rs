//! The cases. A new one is a name, which says what is done, and a few lines; its expectation is what IPVS does.

mod answers;
mod arp;
mod flows;
mod fragments;
mod header;
mod icmp;
mod local;
mod opening;
mod random;
mod schedulers;
mod size;
mod spoiled;

use super::script::Case;

/// Cases that belong together.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// Whether the VIP is an address of tunlb's director, too: then its kernel answers what no service takes.
    pub(crate) local: bool,
    /// Whether every command is typed when its turn comes. Else what comes before a case's first packet is set up for the whole
    /// section at once, which takes a fraction of the time.
    pub(crate) typed: bool,
    pub(crate) cases: &'static [Case],
}

/// All of them, in the order of the table.
pub(crate) const SECTIONS: &[Section] = &[
    Section { title: "Which server", local: false, typed: true, cases: schedulers::CASES },
    Section { title: "What opens a flow", local: false, typed: false, cases: opening::CASES },
    Section { title: "A flow's server and state", local: false, typed: false, cases: flows::CASES },
    Section { title: "The headers", local: false, typed: false, cases: header::CASES },
    Section { title: "Size", local: false, typed: false, cases: size::CASES },
    Section { title: "Fragments", local: false, typed: false, cases: fragments::CASES },
    Section { title: "Spoiled packets", local: false, typed: false, cases: spoiled::CASES },
    Section { title: "What is not forwarded", local: false, typed: false, cases: answers::CASES },
    Section {
        title: "ICMP about flows and tunnels",
        local: false,
        typed: false,
        cases: icmp::CASES,
    },
    Section { title: "ARP", local: false, typed: false, cases: arp::CASES },
    Section { title: "Anything, by dice", local: false, typed: false, cases: random::CASES },
    Section {
        title: "A VIP that the director has itself",
        local: true,
        typed: false,
        cases: local::CASES,
    },
];
