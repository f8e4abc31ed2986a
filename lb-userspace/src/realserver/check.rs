//! What is right and what is wrong with a real server's set-up; a pure function of what there is.

use std::{fmt, net::Ipv4Addr};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    LOOPBACK, Mode, TUNNEL,
    observe::{Observed, conf},
    plan::{Desired, arp_ignore_is_right, filtering_interface, mss_wanted, rp_filter_is_wrong},
};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The real server does not work, or harms others, until this is mended.
    Wrong,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ok => "ok",
            Self::Wrong => "WRONG",
            Self::Note => "note",
        })
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How to take it.
    pub verdict: Verdict,
    /// What there is, and what it should be.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<5}  {}", self.verdict, self.what)?;
        if let Some(remedy) = &self.remedy {
            write!(formatter, "\n       -> {remedy}")?;
        }
        Ok(())
    }
}

fn ok(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, what: what.into(), remedy: None }
}

fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Wrong, what: what.into(), remedy: Some(remedy.into()) }
}

fn note(what: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Note, what: what.into(), remedy: None }
}

/// Compares a host with what it should be.
pub(super) fn check(desired: &Desired, observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_interface(observed, &mut findings);
    match desired.mode {
        Mode::Kernel => check_tunnel(observed, &mut findings),
        Mode::Xdp => check_program(desired, observed, &mut findings),
    }
    for &vip in &desired.vips {
        check_vip(vip, desired.mode, observed, &mut findings);
    }
    check_arp_ignore(observed, &mut findings);
    check_arp_announce(observed, &mut findings);
    check_rp_filter(desired.mode, observed, &mut findings);
    check_mss(observed, &mut findings);
    check_others(observed, &mut findings);
    findings
}

fn check_interface(observed: &Observed, findings: &mut Vec<Finding>) {
    let name = &observed.interface;
    if !observed.interface_up {
        let what = format!("{name}, which faces the director, is down or has no carrier");
        findings.push(wrong(what, format!("ip link set {name} up, or plug it in")));
        return;
    }
    let own = observed
        .addresses
        .iter()
        .filter(|(interface, _)| interface == name)
        .map(|(_, network)| network.addr().to_string())
        .collect::<Vec<_>>();
    if own.is_empty() {
        let what = format!("{name} has no IPv4 address, so the director cannot tunnel to it");
        findings.push(wrong(what, format!("ip addr add ADDRESS/LENGTH dev {name}")));
    } else {
        findings.push(ok(format!(
            "{name} is up with {}, to which the director tunnels",
            own.join(", ")
        )));
    }
}

fn check_tunnel(observed: &Observed, findings: &mut Vec<Finding>) {
    findings.push(match observed.tunnel_up {
        Some(true) => ok(format!("{TUNNEL} is up and unwraps")),
        Some(false) => wrong(
            format!("{TUNNEL} is down: clients are told that the connection is refused"),
            format!("ip link set {TUNNEL} up"),
        ),
        None => wrong(
            format!("{TUNNEL} does not exist: nothing unwraps what the director sends"),
            "modprobe ipip; or, for a kernel without it, tunlb realserver down, and up with --xdp",
        ),
    });
}

fn check_program(desired: &Desired, observed: &Observed, findings: &mut Vec<Finding>) {
    let name = &observed.interface;
    let vips: Vec<_> = desired.vips.iter().map(|vip| format!(" --vip {vip}")).collect();
    let remedy = format!("tunlb realserver up --xdp{}", vips.concat());
    let Some(program) = &observed.program else {
        let what = format!("no unwrapping XDP program is attached to {name}");
        findings.push(wrong(what, remedy));
        return;
    };
    let missing = join(desired.vips.difference(&program.vips));
    if !missing.is_empty() {
        let what = format!("the XDP program on {name} does not unwrap for {missing}");
        findings.push(wrong(what, format!("{remedy} --vip {missing}")));
        return;
    }
    let mode = if program.generic { "generic mode (slower)" } else { "native mode" };
    findings.push(ok(format!("an XDP program on {name} unwraps, in {mode}")));
}

fn join<'a>(vips: impl Iterator<Item = &'a Ipv4Addr>) -> String {
    vips.map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",")
}

fn check_vip(vip: Ipv4Addr, mode: Mode, observed: &Observed, findings: &mut Vec<Finding>) {
    let carrier = match mode {
        Mode::Kernel => TUNNEL,
        Mode::Xdp => LOOPBACK,
    };
    let mut held = None;
    for (interface, prefix) in observed.holders(vip) {
        let delete = format!("ip addr del {vip}/{prefix} dev {interface}");
        if interface == observed.interface {
            let what = format!("VIP {vip} is on {interface} itself, which answers ARP for it");
            findings.push(wrong(what, delete));
        } else if prefix != 32 {
            let what = format!(
                "VIP {vip} is on {interface} with /{prefix}, so that whole network is routed there"
            );
            let again = format!("{delete}; ip addr add {vip}/32 dev {interface}");
            findings.push(wrong(what, again));
        }
        held = Some(interface);
    }
    match held {
        None => {
            let what = format!("VIP {vip} is on no interface: unwrapped packets are not taken");
            findings.push(wrong(what, format!("ip addr add {vip}/32 dev {carrier}")));
        }
        Some(_) if !observed.local.contains(&vip) => {
            let what = format!("VIP {vip} is set, but the routing does not deliver it locally");
            findings.push(wrong(what, format!("look at ip route get {vip} and ip rule")));
        }
        Some(interface) => findings.push(ok(format!(
            "VIP {vip} is on {interface} and delivered locally; it needs no further route"
        ))),
    }
}

fn check_arp_ignore(observed: &Observed, findings: &mut Vec<Finding>) {
    let lan = &observed.interface;
    let effective = observed.effective(lan, "arp_ignore");
    let all = observed.number("all", "arp_ignore");
    let own = observed.number(lan, "arp_ignore");
    let shown =
        format!("arp_ignore is {effective} on {lan} (the larger of all={all} and {lan}={own})");
    if arp_ignore_is_right(effective) {
        findings.push(ok(format!("{shown}: no ARP answer for a VIP")));
        return;
    }
    let mut what = match effective {
        0 => format!("{shown}, not 1: this host answers ARP for the VIP, past the director"),
        3 => format!("{shown}, not 1: 3 still answers for addresses like the VIP"),
        _ => format!("{shown}, not 1: this host does not even answer for its own address"),
    };
    what.push_str(&misplaced(observed, "arp_ignore", 1));
    let place = if all > 2 { "all" } else { lan };
    findings.push(wrong(what, set(place, "arp_ignore", 1)));
}

fn check_arp_announce(observed: &Observed, findings: &mut Vec<Finding>) {
    let lan = &observed.interface;
    let effective = observed.effective(lan, "arp_announce");
    let shown = format!("arp_announce is {effective} on {lan}");
    if effective >= 2 {
        findings.push(ok(format!("{shown}: ARP requests never name the VIP as their sender")));
        return;
    }
    let mut what = format!(
        "{shown}, not 2: this host's own ARP requests name the VIP and move the router's entry for it"
    );
    what.push_str(&misplaced(observed, "arp_announce", 2));
    findings.push(wrong(what, set(lan, "arp_announce", 2)));
}

/// The mistake of many a recipe: ARP is answered by the interface that the request arrives on, never by the tunnel device.
fn misplaced(observed: &Observed, name: &str, value: i64) -> String {
    let key = conf(TUNNEL, name);
    match observed.sysctls.get(&key).and_then(|set| set.parse::<i64>().ok()) {
        Some(set) if set >= value => format!(
            "; {key}={set} has no effect, since ARP arrives on {}, not on {TUNNEL}",
            observed.interface
        ),
        _ => String::new(),
    }
}

fn check_rp_filter(mode: Mode, observed: &Observed, findings: &mut Vec<Finding>) {
    let interface = filtering_interface(mode, observed);
    let effective = observed.effective(interface, "rp_filter");
    let all = observed.number("all", "rp_filter");
    let own = observed.number(interface, "rp_filter");
    let shown = format!(
        "rp_filter is {effective} on {interface} (the larger of all={all} and {interface}={own})"
    );
    if rp_filter_is_wrong(mode, observed) {
        let what = format!("{shown}, not 0 or 2: clients' packets are dropped after unwrapping");
        findings.push(wrong(what, set(interface, "rp_filter", 2)));
    } else if effective == 1 {
        let what = format!("{shown}: passes, since the default route leaves by {interface} too");
        findings.push(ok(what));
    } else {
        findings.push(ok(format!("{shown}: lets unwrapped packets in")));
    }
}

fn set(interface: &str, name: &str, value: u8) -> String {
    format!("echo {value} > /proc/sys/{}", conf(interface, name))
}

fn check_mss(observed: &Observed, findings: &mut Vec<Finding>) {
    let mut right = Vec::new();
    for route in &observed.routes {
        let concerned =
            route.key.interface == observed.interface || route.key.destination.prefix_len() == 0;
        match mss_wanted(observed, route) {
            None if concerned => right.push(route.key.to_string()),
            None => {}
            Some(wanted) => {
                let is = route.advmss.map_or("not set".to_owned(), |mss| mss.to_string());
                let what = format!(
                    "advmss of route {} is {is}, not {wanted} or less: clients' full segments do not fit into the \
                     tunnel (MTU {})",
                    route.key, observed.mtu
                );
                let remedy = format!("ip route change {} ... advmss {wanted}", route.key);
                findings.push(wrong(what, remedy));
            }
        }
    }
    if !right.is_empty() {
        findings
            .push(ok(format!("the MSS leaves room for the outer header on: {}", right.join(", "))));
    }
    for destination in &observed.multipath {
        findings.push(note(format!(
            "route {} has several next hops; its MSS is left alone, set advmss there yourself",
            shown(destination)
        )));
    }
}

fn shown(destination: &IpNet) -> String {
    if destination.prefix_len() == 0 { "default".to_owned() } else { destination.to_string() }
}

fn check_others(observed: &Observed, findings: &mut Vec<Finding>) {
    for other in &observed.others {
        if !arp_ignore_is_right(observed.effective(other, "arp_ignore")) {
            findings.push(note(format!(
                "{other} answers ARP for the VIPs too; if it is on the director's segment: {}",
                set(other, "arp_ignore", 1)
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ipnet::Ipv4Net;

    use super::{
        super::{
            Unwrapping,
            fake::{VIP, rs1},
        },
        *,
    };

    fn desired(mode: Mode) -> Desired {
        Desired { mode, generic: false, vips: BTreeSet::from([VIP]) }
    }

    /// The seed's real server, set up rightly.
    fn right() -> Observed {
        let mut observed = rs1();
        observed.tunnel_up = Some(true);
        observed.addresses.insert((TUNNEL.to_owned(), Ipv4Net::from(VIP)));
        observed.local.insert(VIP);
        observed.sysctls.insert(conf("eth0", "arp_ignore"), "1".to_owned());
        observed.sysctls.insert(conf("eth0", "arp_announce"), "2".to_owned());
        for route in &mut observed.routes {
            route.advmss = Some(1440);
        }
        observed
    }

    fn wrongs(mode: Mode, observed: &Observed) -> Vec<Finding> {
        let mut findings = check(&desired(mode), observed);
        findings.retain(|finding| finding.verdict == Verdict::Wrong);
        findings
    }

    fn only_wrong(observed: &Observed) -> (String, String) {
        let wrongs = wrongs(Mode::Kernel, observed);
        let [finding] = wrongs.as_slice() else {
            panic!("one thing should be wrong: {wrongs:#?}");
        };
        (finding.what.clone(), finding.remedy.clone().expect("a remedy"))
    }

    #[test]
    fn a_right_set_up_has_nothing_wrong() {
        assert_eq!(wrongs(Mode::Kernel, &right()), []);
    }

    #[test]
    fn the_seeds_mistake_is_found_and_explained() {
        let mut observed = right();
        for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
            observed.sysctls.insert(conf(TUNNEL, name), value.to_owned());
            observed.sysctls.insert(conf("eth0", name), "0".to_owned());
        }
        let wrongs = wrongs(Mode::Kernel, &observed);
        assert_eq!(wrongs.len(), 2, "{wrongs:#?}");
        assert_eq!(
            wrongs[0].what,
            "arp_ignore is 0 on eth0 (the larger of all=0 and eth0=0), not 1: this host answers ARP for the VIP, past \
             the director; net/ipv4/conf/tunl0/arp_ignore=1 has no effect, since ARP arrives on eth0, not on tunl0"
        );
        assert_eq!(
            wrongs[0].remedy.as_deref(),
            Some("echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore")
        );
        let end = "net/ipv4/conf/tunl0/arp_announce=2 has no effect, since ARP arrives on eth0, not on tunl0";
        assert!(wrongs[1].what.ends_with(end), "{}", wrongs[1].what);
    }

    #[test]
    fn settings_on_all_count() {
        let mut observed = right();
        for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
            observed.sysctls.insert(conf("all", name), value.to_owned());
            observed.sysctls.insert(conf("eth0", name), "0".to_owned());
        }
        assert_eq!(wrongs(Mode::Kernel, &observed), []);
    }

    #[test]
    fn a_strict_filter_on_either_is_found() {
        for (all, tunnel, is_wrong) in
            [("1", "0", true), ("0", "1", true), ("1", "2", false), ("2", "1", false)]
        {
            let mut observed = right();
            observed.sysctls.insert(conf("all", "rp_filter"), all.to_owned());
            observed.sysctls.insert(conf(TUNNEL, "rp_filter"), tunnel.to_owned());
            let wrongs = wrongs(Mode::Kernel, &observed);
            assert_eq!(!wrongs.is_empty(), is_wrong, "all={all} tunl0={tunnel}: {wrongs:#?}");
        }
    }

    #[test]
    fn each_fault_is_named_with_its_remedy() {
        let mut observed = right();
        observed.tunnel_up = Some(false);
        assert_eq!(only_wrong(&observed).1, "ip link set tunl0 up");

        let mut observed = right();
        observed.addresses.retain(|(interface, _)| interface != TUNNEL);
        assert_eq!(only_wrong(&observed).1, "ip addr add 192.168.19.100/32 dev tunl0");

        let mut observed = right();
        observed.local.clear();
        assert!(only_wrong(&observed).0.contains("does not deliver it locally"));

        let mut observed = right();
        observed.routes[0].advmss = None;
        let (what, remedy) = only_wrong(&observed);
        assert!(what.starts_with("advmss of route default via 192.168.19.1 dev eth0 is not set"));
        assert!(remedy.ends_with("advmss 1440"));

        let mut observed = right();
        let lan = ("eth0".to_owned(), Ipv4Net::from(VIP));
        observed.addresses.insert(lan);
        assert_eq!(only_wrong(&observed).1, "ip addr del 192.168.19.100/32 dev eth0");

        let mut observed = right();
        observed.addresses.retain(|(interface, _)| interface != TUNNEL);
        let wide = "192.168.19.100/24".parse().expect("a network");
        observed.addresses.insert((TUNNEL.to_owned(), wide));
        assert!(only_wrong(&observed).0.contains("with /24"));

        let mut observed = right();
        observed.interface_up = false;
        assert!(only_wrong(&observed).0.contains("is down"));
    }

    #[test]
    fn in_xdp_mode_the_program_is_looked_for() {
        let mut observed = right();
        let missing = wrongs(Mode::Xdp, &observed);
        assert_eq!(missing.len(), 1, "{missing:#?}");
        assert!(missing[0].what.contains("no unwrapping XDP program"));
        observed.program = Some(Unwrapping { vips: BTreeSet::new(), generic: false });
        assert!(
            wrongs(Mode::Xdp, &observed)[0].what.contains("does not unwrap for 192.168.19.100")
        );
        observed.program = Some(Unwrapping { vips: BTreeSet::from([VIP]), generic: false });
        assert_eq!(wrongs(Mode::Xdp, &observed), []);
    }

    #[test]
    fn another_interface_that_answers_is_only_a_note() {
        let mut observed = right();
        observed.others.push("eth1".to_owned());
        let findings = check(&desired(Mode::Kernel), &observed);
        let note = findings.last().expect("a finding");
        assert_eq!(note.verdict, Verdict::Note);
        assert!(note.what.starts_with("eth1 answers ARP"));
    }
}
