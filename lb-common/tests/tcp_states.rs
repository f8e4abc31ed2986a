//! The TCP state table, against what a running ip_vs did.
//!
//! `data/tcp_states.json` was measured on Linux 6.1's ip_vs in Tunnel mode with its default
//! `conn_reuse_mode` of 1: the state before, the flags sent, the state after and the seconds left.

mod common;

use common::{CLIENT, HTTP, SYN, direct, reached, segment, tables};
use lb_common::{
    Reason,
    flow::{FlowState, Segment},
};

#[derive(Debug, serde::Deserialize)]
struct Measured {
    before: String,
    flags: String,
    /// Nothing where ip_vs deleted the flow.
    after: Option<String>,
    timeout: Option<u16>,
    same_server: Option<bool>,
}

fn measured() -> Vec<Measured> {
    serde_json::from_str(include_str!("data/tcp_states.json")).expect("the measured table")
}

fn state(name: &str) -> FlowState {
    match name {
        "SYN_RECV" => FlowState::SYN_RECV,
        "ESTABLISHED" => FlowState::ESTABLISHED,
        "FIN_WAIT" => FlowState::FIN_WAIT,
        "TIME_WAIT" => FlowState::TIME_WAIT,
        "CLOSE" => FlowState::CLOSE,
        other => panic!("{other} is not reachable"),
    }
}

fn flags(letters: &str) -> u8 {
    if letters == "none" {
        return 0;
    }
    letters.chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'F' => 0x01,
                'S' => 0x02,
                'R' => 0x04,
                'P' => 0x08,
                'A' => 0x10,
                'U' => 0x20,
                'E' => 0x40,
                'C' => 0x80,
                other => panic!("no flag {other}"),
            }
    })
}

/// Packets that bring a new flow to a state.
fn way_to(state: &str) -> &'static [u8] {
    const ACK: u8 = 0x10;
    const FIN: u8 = 0x01;
    const RST: u8 = 0x04;
    match state {
        "SYN_RECV" => &[SYN],
        "ESTABLISHED" => &[SYN, ACK],
        "FIN_WAIT" => &[SYN, ACK, FIN | ACK],
        "TIME_WAIT" => &[SYN, FIN],
        "CLOSE" => &[SYN, ACK, RST],
        other => panic!("{other} is not reachable"),
    }
}

/// Where ip_vs does what we do not: SYN and RST together, in a state that takes a SYN anew, delete
/// the flow and go nowhere. Here RST decides alone, as in every other state.
fn differs(row: &Measured) -> bool {
    row.after.is_none()
}

#[test]
fn every_measured_transition() {
    let rows = measured();
    assert_eq!(rows.len(), 95);
    assert_eq!(rows.iter().filter(|row| differs(row)).count(), 6);
    for row in rows.iter().filter(|row| !differs(row)) {
        let tables = tables(4);
        let mut server = 0;
        for &flags in way_to(&row.before) {
            (server, _) = reached(&tables, &segment(CLIENT, 1, HTTP, flags));
        }
        assert_eq!(tables.flows()[0].0.state(), state(&row.before), "{row:?}");
        let (now, new) = reached(&tables, &segment(CLIENT, 1, HTTP, flags(&row.flags)));
        let flows = tables.flows();
        assert_eq!(flows.len(), 1, "{row:?}");
        let after = row.after.as_deref().expect("a state");
        assert_eq!(flows[0].0.state(), state(after), "{row:?}");
        assert_eq!(now == server, row.same_server == Some(true), "{row:?}");
        assert_eq!(new, row.same_server == Some(false), "{row:?}");
        // A second may have passed before it was read.
        let left = row.timeout.expect("a timeout");
        let timeout = state(after).timeout_seconds();
        assert!(timeout == left || timeout == left + 1, "{row:?}: {timeout}");
    }
}

#[test]
fn a_reset_with_syn_ends_a_closed_flow_and_opens_nothing() {
    for before in ["TIME_WAIT", "CLOSE"] {
        let tables = tables(4);
        for &flags in way_to(before) {
            reached(&tables, &segment(CLIENT, 1, HTTP, flags));
        }
        let (verdict, _) = direct(&tables, &segment(CLIENT, 1, HTTP, flags("SR")));
        // Measured: ip_vs deletes the entry (at its next timer tick) and forwards nothing.
        assert_eq!(verdict.reason, Reason::DropNoFlow);
        assert_eq!(tables.flows(), []);
    }
}

#[test]
fn rst_comes_before_syn_before_fin_before_ack() {
    for bits in 0..=255u8 {
        let expected = if bits & 0x04 != 0 {
            Segment::Reset
        } else if bits & 0x02 != 0 {
            Segment::Syn
        } else if bits & 0x01 != 0 {
            Segment::Fin
        } else if bits & 0x10 != 0 {
            Segment::Ack
        } else {
            Segment::None
        };
        assert_eq!(Segment::of(bits), expected, "{bits:#04x}");
    }
}

/// The `INPUT_ONLY` rows of ip_vs_proto_tcp.c in the column order NONE ESTABLISHED SYN_SENT
/// SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK, as documented for ip_vs;
/// the measurement covers the reachable ones.
#[test]
fn every_documented_transition() {
    const ORDER: &str = "NO ES SS SR FW TW CL CW LA LI SA";
    let number = |name: &str| ORDER.split(' ').position(|n| n == name).expect("a state") as u8;
    for (segment, row) in [
        (Segment::Syn, "SR ES ES SR SR SR SR SR SR SR SR"),
        (Segment::Fin, "CL FW SS TW FW TW CL CW LA LI TW"),
        (Segment::Ack, "ES ES SS ES FW TW CL CW CL LI ES"),
        (Segment::Reset, "CL CL CL SR CL CL CL CL LA LI CL"),
    ] {
        for (before, after) in row.split(' ').enumerate() {
            let next = FlowState(before as u8).after(segment);
            assert_eq!(next, FlowState(number(after)), "{segment:?} in state {before}");
        }
    }
}
