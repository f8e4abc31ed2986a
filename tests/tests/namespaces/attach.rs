//! Where and how the program is attached, and that it goes without a trace.

use std::time::Duration;

use lb_userspace::{bpf::Mode, demo::seed::Host};
use nix::sys::signal::Signal;
use tests::lab::{Director, EchoServer, Lab, SEED, eventually, refusal, under_traffic, vip};

/// Everything of the director is gone but its configuration.
fn assert_gone(lab: &Lab, director: &Director<'_>) {
    lab.await_detached(Host::Director, "eth0");
    assert!(!director.pin.exists(), "{:?}", director.pins());
    assert!(!director.socket.exists());
    lab.try_fetch(vip(80), Duration::from_millis(300)).expect_err("nothing is balanced");
}

#[test]
fn detach_removes_everything_and_ends_the_daemon() {
    let lab = Lab::new("detach");
    let mut director = lab.seed_director();
    assert_eq!(lab.fetch(2).len(), 2);
    let config = director.config_text();
    assert!(lab.xdp(Host::Director, "eth0").is_some());
    let said = director.ok("detach");
    assert_eq!(said, format!("detached; removed {}\n", director.pin.display()));
    eventually("the daemon ends", Duration::from_secs(3), || director.ended());
    assert_gone(&lab, &director);
    assert_eq!(director.config_text(), config);

    // Again: there is nothing, which is no failure.
    let pin = director.pin.display().to_string();
    let again = director.ok(&format!("detach --pin {pin}"));
    assert_eq!(again, format!("nothing is pinned in {pin}\n"));

    // And everything begins anew.
    director.stop(Signal::SIGTERM);
    director.start();
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

#[test]
fn detach_works_without_the_daemon() {
    let lab = Lab::new("orphan");
    let mut director = lab.seed_director();
    director.stop(Signal::SIGKILL);
    assert_eq!(lab.fetch(2).len(), 2);
    let pin = director.pin.display().to_string();
    let said = director.ok(&format!("detach --pin {pin}"));
    assert_eq!(said, format!("detached; removed {pin}\n"));
    // What the killed daemon left of its socket nobody listens on.
    let _ = std::fs::remove_file(&director.socket);
    assert_gone(&lab, &director);
}

#[test]
fn generic_mode_is_said_and_only_taken_when_asked_for() {
    let lab = Lab::new("generic");
    let mut director = lab.director(SEED);
    director.start_with(&["--generic"]);
    assert!(director.said().contains("in generic mode"), "{}", director.said());
    assert_eq!(lab.xdp(Host::Director, "eth0").expect("is attached").mode, Mode::Generic);
    assert_eq!(director.state().interfaces[0].mode, Some(Mode::Generic));
    assert!(director.ok("list").contains("generic"));
    assert_eq!(lab.fetch(4), ["web1", "web2", "web1", "web2"]);

    // Without the flag the next one runs in the driver again, with the flows of the last.
    director.stop(Signal::SIGTERM);
    director.start();
    assert_eq!(lab.xdp(Host::Director, "eth0").expect("is attached").mode, Mode::Native);
    assert_eq!(director.state().interfaces[0].mode, Some(Mode::Native));
    assert!(!director.ok("list").contains("generic"));
    assert_eq!(lab.fetch(2).len(), 2);
}

#[test]
fn driver_without_xdp_is_refused_and_generic_mode_named() {
    let lab = Lab::new("driver");
    lab.network(Host::Director, async |netlink| netlink.create_bridge("br7").await);
    let mut director = lab.director(SEED);
    director.write_config(&format!("{}{SEED}", director.head("br7")));
    let said = refusal(&director.run(&[]));
    assert!(said.contains("cannot attach to br7 in native XDP mode"), "{said}");
    assert!(said.contains("generic"), "{said}");
    lab.await_detached(Host::Director, "br7");
    assert!(!director.pin.exists(), "{:?}", director.pins());

    director.start_with(&["--generic"]);
    assert_eq!(lab.xdp(Host::Director, "br7").expect("is attached").mode, Mode::Generic);
    director.ok("detach");
    lab.await_detached(Host::Director, "br7");
}

#[test]
fn interfaces_come_and_go_with_the_file() {
    let lab = Lab::new("interfaces");
    lab.network(Host::Director, async |netlink| netlink.create_veth("eth1", "eth2", None).await);
    let director = lab.seed_director();
    let two = director.config_text().replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]");
    let one = director.config_text();
    director.write_config(&two);
    let program = lab.xdp(Host::Director, "eth0").expect("is attached");
    assert!(director.ok("apply").contains("eth1"));
    assert!(lab.xdp(Host::Director, "eth1").is_some());
    assert_eq!(director.state().interfaces.len(), 2);
    assert_eq!(lab.xdp(Host::Director, "eth0"), Some(program), "it is left alone");
    director.write_config(&one);
    director.ok("apply");
    lab.await_detached(Host::Director, "eth1");
    assert_eq!(lab.fetch(2).len(), 2);

    // One that goes is named; when it is back, so is the program.
    director.write_config(&two);
    director.ok("apply");
    let index = lab.index(Host::Director, "eth1");
    lab.network(Host::Director, async |netlink| netlink.delete_link(index).await);
    let problem = || director.state().interfaces[1].problem.clone();
    eventually("it is named", Duration::from_secs(5), || {
        problem().as_deref() == Some("does not exist")
    });
    lab.network(Host::Director, async |netlink| netlink.create_veth("eth1", "eth2", None).await);
    let attached = || lab.xdp(Host::Director, "eth1").is_some();
    eventually("it is attached again", Duration::from_secs(5), attached);
    eventually("it is listed", Duration::from_secs(5), || problem().as_deref() == Some("is down"));
    assert_eq!(lab.fetch(2).len(), 2);
}

#[test]
fn a_renamed_interface_stays_attached_once_the_file_says_so() {
    let lab = Lab::new("renamed");
    lab.network(Host::Director, async |netlink| netlink.create_veth("eth1", "eth2", None).await);
    let mut director = lab.seed_director();
    let text = director.config_text();
    director.write_config(&text.replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]"));
    director.ok("apply");
    let index = lab.index(Host::Director, "eth1");
    let rename = |name| {
        lab.network(Host::Director, async move |netlink| netlink.rename_link(index, name).await);
    };
    rename("new1");
    let problem = || director.state().interfaces[1].problem.clone();
    eventually("it is named", Duration::from_secs(5), || {
        problem().as_deref() == Some("does not exist")
    });
    assert!(lab.xdp(Host::Director, "new1").is_some());
    director.write_config(&text.replace("[\"eth0\"]", "[\"eth0\", \"new1\"]"));
    director.ok("apply");
    assert_eq!(problem().as_deref(), Some("is down"));
    assert!(lab.xdp(Host::Director, "new1").is_some());

    // The same while no daemon runs.
    director.stop(Signal::SIGTERM);
    rename("new2");
    director.write_config(&text.replace("[\"eth0\"]", "[\"eth0\", \"new2\"]"));
    director.start();
    assert!(director.said().contains("took over interface new2"), "{}", director.said());
    assert_eq!(director.pins().iter().filter(|name| name.starts_with("xdp-")).count(), 2);
    assert_eq!(lab.fetch(2).len(), 2);
}

/// The kernel knows the interfaces by number, the file by order: a new order must not mix them up.
#[test]
fn interfaces_in_another_order_lose_nothing_at_a_restart() {
    let lab = Lab::new("order");
    let _echo = Host::REAL_SERVERS.map(|host| EchoServer::start(&lab, host, 7));
    lab.network(Host::Director, async |netlink| netlink.create_veth("eth1", "eth2", None).await);
    let udp = SEED.replace("tcp:192.168.19.100:80", "udp:192.168.19.100:7");
    let mut director = lab.director("");
    let text = format!("{}{SEED}{udp}", director.head("eth0"));
    director.write_config(&text.replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]"));
    director.start();
    let report = under_traffic(&lab, 5, 7, |traffic| {
        director.stop(Signal::SIGTERM);
        director.write_config(&text.replace("[\"eth0\"]", "[\"eth1\", \"eth0\"]"));
        director.start();
        traffic.goes_on();
        director.write_config(&text);
        director.ok("apply");
        traffic.goes_on();
    });
    assert_eq!(report.failures, [""; 0], "{report:?}");
}
