//! Which changes make a host a real server; a pure function from what is wanted and what there is.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{
    LOOPBACK, Mode, RealServerError, TCP_IP_HEADERS, TUNNEL, TUNNEL_OVERHEAD,
    action::{Action, Change, RouteMss},
    observe::{Observed, ObservedRoute, conf},
};

/// What the host is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) mode: Mode,
    /// Whether an XDP program is attached in generic mode.
    pub(super) generic: bool,
    pub(super) vips: BTreeSet<Ipv4Addr>,
}

/// The changes that are needed, in the order in which they are to be made: no VIP is there before ARP is silenced for it.
pub(super) fn plan(desired: &Desired, observed: &Observed) -> Result<Vec<Change>, RealServerError> {
    for &vip in &desired.vips {
        refuse_impossible(vip, observed)?;
    }
    let mut plan = Vec::new();
    // First, since it is what tells whether this kernel can do it at all.
    if desired.mode == Mode::Kernel && observed.tunnel_up.is_none() {
        plan.push(Change {
            action: Action::CreateTunnel,
            undo: Action::DeleteTunnel,
            why: "it unwraps what the director sends",
        });
    }
    plan_arp(observed, &mut plan);
    plan_mss(observed, &mut plan);
    plan_rp_filter(desired, observed, &mut plan);
    let carrier = match desired.mode {
        Mode::Kernel => {
            if observed.tunnel_up != Some(true) {
                plan.push(set_up(TUNNEL, "it unwraps only while it is up"));
            }
            TUNNEL
        }
        Mode::Xdp => {
            plan_program(desired, observed, &mut plan);
            if !observed.loopback_up {
                plan_loopback(observed, &mut plan);
            }
            LOOPBACK
        }
    };
    for &vip in &desired.vips {
        // Any interface will do, as long as it is not the one that ARP requests arrive on.
        if observed.holders(vip).next().is_none() {
            let why = "the unwrapped packets are addressed to it";
            plan.push(add_address(carrier, Ipv4Net::from(vip), why));
        }
    }
    Ok(plan)
}

fn refuse_impossible(vip: Ipv4Addr, observed: &Observed) -> Result<(), RealServerError> {
    if vip.is_unspecified() || vip.is_multicast() || vip.is_broadcast() || vip.is_loopback() {
        return Err(RealServerError::InvalidVip(vip));
    }
    match observed.holders(vip).find(|(interface, _)| *interface == observed.interface) {
        Some((interface, prefix)) => {
            Err(RealServerError::VipOnInterface { vip, interface: interface.to_owned(), prefix })
        }
        None => Ok(()),
    }
}

fn set_up(interface: &str, why: &'static str) -> Change {
    let set = |up| Action::SetUp { interface: interface.to_owned(), up };
    Change { action: set(true), undo: set(false), why }
}

fn add_address(interface: &str, address: Ipv4Net, why: &'static str) -> Change {
    let interface = interface.to_owned();
    Change {
        action: Action::AddAddress { interface: interface.clone(), address },
        undo: Action::DeleteAddress { interface, address },
        why,
    }
}

/// When the loopback device comes up the kernel gives it its address, but does not take it when it goes down.
fn plan_loopback(observed: &Observed, plan: &mut Vec<Change>) {
    plan.push(set_up(LOOPBACK, "it carries the VIPs"));
    let usual = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8);
    if !observed.addresses.contains(&(LOOPBACK.to_owned(), usual)) {
        plan.push(add_address(LOOPBACK, usual, "it comes with being up"));
    }
}

fn set_sysctl(
    observed: &Observed,
    interface: &str,
    name: &str,
    value: u8,
    why: &'static str,
) -> Change {
    let key = conf(interface, name);
    // An interface that is still to be made gets the value of `default`.
    let before = observed.number(interface, name).to_string();
    Change {
        action: Action::SetSysctl { key: key.clone(), value: value.to_string() },
        undo: Action::SetSysctl { key, value: before },
        why,
    }
}

/// With 1, and 2, an address is answered for only on the interface that has it. 3 answers for addresses of global scope, such
/// as the VIP; 8 answers for nothing, not even the host's own address.
pub(super) fn arp_ignore_is_right(effective: i64) -> bool {
    effective == 1 || effective == 2
}

/// On the interface that ARP arrives on; its own setting is the narrowest that has effect (the kernel takes the larger of
/// `all` and the interface).
fn plan_arp(observed: &Observed, plan: &mut Vec<Change>) {
    const IGNORE: &str = "ARP for the VIP must reach the director only";
    let lan = &observed.interface;
    let all = observed.number("all", "arp_ignore");
    if all > 2 {
        plan.push(set_sysctl(observed, "all", "arp_ignore", 1, IGNORE));
    }
    let remaining = if all > 2 { 1 } else { all };
    if !arp_ignore_is_right(remaining.max(observed.number(lan, "arp_ignore"))) {
        plan.push(set_sysctl(observed, lan, "arp_ignore", 1, IGNORE));
    }
    if observed.effective(lan, "arp_announce") < 2 {
        let why = "else the host's own ARP requests announce the VIP as its own";
        plan.push(set_sysctl(observed, lan, "arp_announce", 2, why));
    }
}

/// The MSS that a route should advertise, if the one it advertises now is too large.
///
/// A client's segment, its headers and the outer header must fit into the interface's MTU. An MSS that is smaller already
/// stays.
pub(super) fn mss_wanted(observed: &Observed, route: &ObservedRoute) -> Option<u32> {
    let concerned =
        route.key.interface == observed.interface || route.key.destination.prefix_len() == 0;
    if !concerned {
        return None;
    }
    let room = observed.mtu.saturating_sub(TUNNEL_OVERHEAD);
    let wanted = route.mtu.unwrap_or(room).min(room).saturating_sub(TCP_IP_HEADERS);
    match route.advmss {
        Some(advmss) if advmss != 0 && advmss <= wanted => None,
        _ => Some(wanted),
    }
}

fn plan_mss(observed: &Observed, plan: &mut Vec<Change>) {
    for route in &observed.routes {
        if let Some(wanted) = mss_wanted(observed, route) {
            let set = |advmss| Action::SetAdvMss(RouteMss { route: route.key.clone(), advmss });
            plan.push(Change {
                action: set(Some(wanted)),
                undo: set(route.advmss),
                why: "clients' segments must leave room for the outer header",
            });
        }
    }
}

/// Where unwrapped packets come in, and whether the reverse path filter there would drop them.
pub(super) fn rp_filter_is_wrong(mode: Mode, observed: &Observed) -> bool {
    match mode {
        // Packets of clients come in by tunl0, and no route to them leads out there: 1 (strict) drops all.
        Mode::Kernel => observed.effective(TUNNEL, "rp_filter") == 1,
        // They come in by the interface itself, which strict takes only from clients to whom the best
        // route leads out there: not all need be such.
        Mode::Xdp => observed.effective(&observed.interface, "rp_filter") == 1,
    }
}

/// The interface whose reverse path filter matters.
pub(super) fn filtering_interface(mode: Mode, observed: &Observed) -> &str {
    match mode {
        Mode::Kernel => TUNNEL,
        Mode::Xdp => &observed.interface,
    }
}

fn plan_rp_filter(desired: &Desired, observed: &Observed, plan: &mut Vec<Change>) {
    if rp_filter_is_wrong(desired.mode, observed) {
        // 2 (loose) on the interface overrules 1 on `all`: the larger counts.
        let interface = filtering_interface(desired.mode, observed);
        let why = "a strict filter drops clients' packets after unwrapping";
        plan.push(set_sysctl(observed, interface, "rp_filter", 2, why));
    }
}

fn plan_program(desired: &Desired, observed: &Observed, plan: &mut Vec<Change>) {
    let interface = observed.interface.clone();
    let undo = match &observed.program {
        Some(program) if program.vips == desired.vips && program.generic == desired.generic => {
            return;
        }
        Some(program) => Action::Attach {
            interface: interface.clone(),
            vips: program.vips.clone(),
            generic: program.generic,
        },
        None => Action::Detach { interface: interface.clone() },
    };
    plan.push(Change {
        action: Action::Attach { interface, vips: desired.vips.clone(), generic: desired.generic },
        undo,
        why: "it unwraps what the director sends",
    });
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{VIP, VIP2, rs1, without_tunnel},
        *,
    };

    fn desired(mode: Mode) -> Desired {
        Desired { mode, generic: false, vips: BTreeSet::from([VIP]) }
    }

    fn planned(mode: Mode, observed: &Observed) -> Vec<String> {
        let changes = plan(&desired(mode), observed).expect("a plan");
        changes.iter().map(|change| change.action.to_string()).collect()
    }

    #[test]
    fn the_seeds_real_server_needs_arp_mss_and_the_vip() {
        let expected = [
            "set sysctl net/ipv4/conf/eth0/arp_ignore to 1",
            "set sysctl net/ipv4/conf/eth0/arp_announce to 2",
            "set advmss of route default via 192.168.19.1 dev eth0 to 1440",
            "set advmss of route 192.168.19.0/24 dev eth0 to 1440",
            "set tunl0 up",
            "add address 192.168.19.100/32 to tunl0",
        ];
        assert_eq!(planned(Mode::Kernel, &rs1()), expected);
    }

    #[test]
    fn without_tunl0_it_is_made_first() {
        let actions = planned(Mode::Kernel, &without_tunnel());
        assert_eq!(actions[0], "create tunl0 (loads the ipip module)");
        assert!(actions.contains(&"set tunl0 up".to_owned()));
    }

    #[test]
    fn the_xdp_mode_attaches_a_program_and_uses_lo() {
        let actions = planned(Mode::Xdp, &without_tunnel());
        let tail = [
            "attach the unwrapping XDP program (native) to eth0 for 192.168.19.100",
            "add address 192.168.19.100/32 to lo",
        ];
        assert_eq!(actions[actions.len() - 2..], tail);
    }

    #[test]
    fn a_strict_filter_is_loosened_where_packets_come_in() {
        let mut observed = rs1();
        observed.sysctls.insert(conf("all", "rp_filter"), "1".to_owned());
        let loosen = "set sysctl net/ipv4/conf/tunl0/rp_filter to 2".to_owned();
        assert!(planned(Mode::Kernel, &observed).contains(&loosen));
        // A strict filter takes the interface's packets only from those to whom the best route leads
        // out there; that the default route does is not enough.
        let filters = |actions: Vec<String>| {
            actions.into_iter().filter(|action| action.contains("rp_filter")).collect::<Vec<_>>()
        };
        let loosen = ["set sysctl net/ipv4/conf/eth0/rp_filter to 2"];
        assert_eq!(filters(planned(Mode::Xdp, &observed)), loosen);
        observed.sysctls.insert(conf("tunl0", "rp_filter"), "2".to_owned());
        assert!(filters(planned(Mode::Kernel, &observed)).is_empty());
    }

    #[test]
    fn a_new_tunnels_filter_is_that_of_default() {
        let mut observed = without_tunnel();
        observed.sysctls.insert(conf("default", "rp_filter"), "1".to_owned());
        let changes = plan(&desired(Mode::Kernel), &observed).expect("a plan");
        let undo: Vec<String> = changes.iter().map(|change| change.undo.to_string()).collect();
        assert!(
            undo.contains(&"set sysctl net/ipv4/conf/tunl0/rp_filter to 1".to_owned()),
            "{undo:?}"
        );
    }

    #[test]
    fn arp_settings_on_all_are_enough_unless_they_are_too_strong() {
        let mut observed = rs1();
        observed.sysctls.insert(conf("all", "arp_ignore"), "1".to_owned());
        observed.sysctls.insert(conf("all", "arp_announce"), "2".to_owned());
        let arp = |observed: &Observed| {
            let mut actions = planned(Mode::Kernel, observed);
            actions.retain(|action| action.contains("arp_"));
            actions
        };
        assert!(arp(&observed).is_empty());
        observed.sysctls.insert(conf("all", "arp_ignore"), "8".to_owned());
        assert_eq!(arp(&observed), ["set sysctl net/ipv4/conf/all/arp_ignore to 1"]);
        observed.sysctls.insert(conf("eth0", "arp_ignore"), "3".to_owned());
        assert_eq!(
            arp(&observed),
            [
                "set sysctl net/ipv4/conf/all/arp_ignore to 1",
                "set sysctl net/ipv4/conf/eth0/arp_ignore to 1"
            ]
        );
    }

    #[test]
    fn the_mss_counts_both_ip_headers_and_never_grows() {
        let mut observed = rs1();
        let wanted = |observed: &Observed| mss_wanted(observed, &observed.routes[0]);
        assert_eq!(wanted(&observed), Some(1440));
        observed.routes[0].mtu = Some(1400);
        assert_eq!(wanted(&observed), Some(1360));
        observed.routes[0].advmss = Some(1200);
        assert_eq!(wanted(&observed), None);
        observed.routes[0].advmss = Some(1460);
        assert_eq!(wanted(&observed), Some(1360));
        observed.mtu = 9000;
        observed.routes[0].mtu = None;
        observed.routes[0].advmss = None;
        assert_eq!(wanted(&observed), Some(8940));
        observed.routes[1].key.interface = "eth1".to_owned();
        assert_eq!(mss_wanted(&observed, &observed.routes[1]), None);
    }

    #[test]
    fn a_vip_that_is_there_is_left_where_it_is() {
        let mut observed = rs1();
        observed.addresses.insert(("lo".to_owned(), Ipv4Net::from(VIP)));
        assert!(planned(Mode::Kernel, &observed).iter().all(|action| !action.contains("address")));
    }

    #[test]
    fn a_vip_on_the_interface_itself_is_refused() {
        let mut observed = rs1();
        let network = "192.168.19.100/24".parse().expect("a network");
        observed.addresses.insert(("eth0".to_owned(), network));
        let error = plan(&desired(Mode::Kernel), &observed).expect_err("refused");
        let remedy = "remove it there: ip addr del 192.168.19.100/24 dev eth0";
        assert!(error.to_string().ends_with(remedy), "{error}");
        for vip in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1"] {
            let vips = BTreeSet::from([vip.parse().expect("an address")]);
            let desired = Desired { vips, ..desired(Mode::Kernel) };
            assert!(plan(&desired, &rs1()).is_err(), "{vip}");
        }
    }

    #[test]
    fn more_vips_change_the_program_and_can_be_taken_back() {
        let mut observed = rs1();
        let program = super::super::Unwrapping { vips: BTreeSet::from([VIP]), generic: false };
        observed.program = Some(program);
        let vips = BTreeSet::from([VIP, VIP2]);
        let desired = Desired { vips: vips.clone(), ..desired(Mode::Xdp) };
        let changes = plan(&desired, &observed).expect("a plan");
        let attach = |vips: BTreeSet<Ipv4Addr>| Action::Attach {
            interface: "eth0".to_owned(),
            vips,
            generic: false,
        };
        let change = changes
            .iter()
            .find(|change| change.action == attach(vips.clone()))
            .expect("an attachment");
        assert_eq!(change.undo, attach(BTreeSet::from([VIP])));
    }
}
