//! Changes from the command line: effective at once, on the disk before they are acknowledged.

use std::time::Duration;

use lb_userspace::{api::State, demo::seed::Host};
use nix::sys::signal::Signal;
use tests::lab::{EchoServer, KeepAlive, Lab, SEED, ask, count, eventually, vip};

/// How long a packet that must not be answered is waited for.
const SILENCE: Duration = Duration::from_millis(400);

const SERVICE: &str = "tcp:192.168.19.100:80";

fn servers(state: &State) -> Vec<String> {
    let servers = state.services.iter().flat_map(|service| &service.servers);
    servers.map(|server| format!("{} {}", server.address, server.weight)).collect()
}

#[test]
fn weight_0_takes_no_new_flows_and_keeps_the_old() {
    let lab = Lab::new("quiesce");
    let director = lab.seed_director();
    lab.on_async(Host::Client, || async {
        let mut old = [KeepAlive::open().await, KeepAlive::open().await];
        assert_eq!((&*old[0].ask().await, &*old[1].ask().await), ("web1", "web2"));
        let said = director.ok("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 0");
        assert!(said.contains("192.168.19.2") && said.contains('0'), "{said}");
        assert_eq!(lab.fetch(4), ["web2"; 4]);
        assert_eq!((&*old[0].ask().await, &*old[1].ask().await), ("web1", "web2"));
    });
    assert_eq!(servers(&director.state()), ["192.168.19.2 0", "192.168.19.3 1"]);
    director.ok("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 3");
    director.ok("service edit tcp:192.168.19.100:80 --scheduler wrr");
    let answers = lab.fetch(8);
    let of_first = answers.iter().filter(|answer| *answer == "web1").count();
    assert_eq!(of_first, 6, "three of four: {answers:?}");
    assert!(!answers.windows(4).any(|four| four.iter().all(|a| a == "web1")), "{answers:?}");
}

#[test]
fn no_server_with_a_weight_is_said_to_the_client() {
    let lab = Lab::new("none");
    let director = lab.seed_director();
    for server in ["192.168.19.2", "192.168.19.3"] {
        director.ok(&format!("server edit {SERVICE} {server} --weight 0"));
    }
    lab.try_fetch(vip(80), Duration::from_secs(2)).expect_err("no server");
    assert!(count(&director.stats(), "no-server") > 0);
    director.ok(&format!("server edit {SERVICE} 192.168.19.3 --weight 1"));
    assert_eq!(lab.fetch(2), ["web2"; 2]);
}

#[test]
fn deleted_server_loses_its_flows_and_comes_back_at_the_head() {
    let lab = Lab::new("delete");
    let director = lab.seed_director();
    lab.on_async(Host::Client, || async {
        let mut old = [KeepAlive::open().await, KeepAlive::open().await];
        assert_eq!((&*old[0].ask().await, &*old[1].ask().await), ("web1", "web2"));
        director.ok(&format!("server delete {SERVICE} 192.168.19.3"));
        assert_eq!(old[0].ask().await, "web1");
        old[1].ask_within(SILENCE).await.expect_err("its flow has ended");
        assert!(count(&director.stats(), "reset-no-flow") > 0);
        assert_eq!(lab.fetch(3), ["web1"; 3]);

        director.ok(&format!("server add {SERVICE} 192.168.19.3"));
        assert_eq!(servers(&director.state()), ["192.168.19.3 1", "192.168.19.2 1"]);
        old[1].ask_within(SILENCE).await.expect_err("what has ended does not come back");
        assert_eq!(old[0].ask().await, "web1");
    });
    let answers = lab.fetch(4);
    assert!(answers[0] != answers[1] && answers[..2] == answers[2..], "{answers:?}");
}

#[test]
fn a_change_that_fails_at_an_interface_costs_no_flow() {
    let lab = Lab::new("whole");
    lab.network(Host::Director, async |netlink| netlink.create_bridge("br7").await);
    let director = lab.seed_director();
    let before = director.config_text();
    lab.on_async(Host::Client, || async {
        let mut old = [KeepAlive::open().await, KeepAlive::open().await];
        assert_eq!((&*old[0].ask().await, &*old[1].ask().await), ("web1", "web2"));
        // A bridge takes no XDP program in its driver, and one server is to go.
        let (head, _) = before.split_once("[[service.server]]").expect("servers");
        let first = "[[service.server]]\naddress = \"192.168.19.2\"\n";
        let wanted = format!("{head}{first}").replace("[\"eth0\"]", "[\"eth0\", \"br7\"]");
        director.write_config(&wanted);
        let said = director.refused("apply");
        assert!(said.contains("br7"), "{said}");
        assert_eq!((&*old[0].ask().await, &*old[1].ask().await), ("web1", "web2"));
        assert_eq!(count(&director.stats(), "reset-no-flow"), 0);
    });
    assert_eq!(servers(&director.state()), ["192.168.19.2 1", "192.168.19.3 1"]);
    assert!(lab.xdp(Host::Director, "br7").is_none());
}

#[test]
fn services_come_and_go_at_once() {
    let lab = Lab::new("services");
    let director = lab.seed_director();
    lab.serve(Host::Rs1, vip(8080), "other");
    let _echo = EchoServer::start(&lab, Host::Rs2, 7);
    let udp = lab.udp_client(7, SILENCE);
    let other = || lab.try_fetch(vip(8080), SILENCE);

    other().expect_err("no service yet");
    ask(&udp, "early").expect_err("no service yet");
    assert!(count(&director.stats(), "reset-no-service") > 0);
    assert!(count(&director.stats(), "port-unreachable") > 0);
    director.ok("service add tcp:192.168.19.100:8080");
    director.ok("server add tcp:192.168.19.100:8080 192.168.19.2");
    assert_eq!(other().expect("a service now"), "other");
    director.ok("service add udp:192.168.19.100:7 --scheduler wrr");
    director.ok("server add udp:192.168.19.100:7 192.168.19.3 --weight 2");
    assert_eq!(ask(&udp, "now").expect("a service now"), "rs2");
    assert_eq!(lab.fetch(2).len(), 2, "the first service is as it was");

    director.ok("service delete tcp:192.168.19.100:8080");
    other().expect_err("no service any more");
    director.ok("service delete udp:192.168.19.100:7");
    ask(&udp, "late").expect_err("no service any more, and no flow");

    // With the last service the VIP is none of the director's business any more.
    director.ok("service delete tcp:192.168.19.100:80");
    lab.try_fetch(vip(80), SILENCE).expect_err("no service any more");
    assert!(director.state().services.is_empty());
    assert!(director.ok("list").contains("no services; add one"));
}

#[test]
fn acknowledged_change_survives_a_kill_and_the_files_comments_stay() {
    let lab = Lab::new("persist");
    let mut director = lab.seed_director();
    let changes = [
        "server edit tcp:192.168.19.100:80 192.168.19.2 --weight 5",
        "service add udp:192.168.19.100:53",
        "server add udp:192.168.19.100:53 192.168.19.3 --weight 2",
        "server delete tcp:192.168.19.100:80 192.168.19.3",
        "service edit tcp:192.168.19.100:80 --scheduler wrr",
        "service delete udp:192.168.19.100:53",
    ];
    for change in changes {
        director.ok(change);
        director.stop(Signal::SIGKILL);
        let text = director.config_text();
        for comment in ["# The shop.", "# the VIP", "# rack 1"] {
            assert!(text.contains(comment), "{change} lost `{comment}`:\n{text}");
        }
        director.start();
        assert_eq!(director.ok("plan"), "nothing to change\n", "{change}");
        match change {
            c if c.starts_with("server edit") => assert!(text.contains("weight = 5"), "{text}"),
            c if c.starts_with("service add") => assert!(text.contains("udp:192.168.19.100:53")),
            c if c.starts_with("service delete") => assert!(!text.contains("udp:"), "{text}"),
            c if c.starts_with("server delete") => assert!(!text.contains("rack 2"), "{text}"),
            c if c.starts_with("service edit") => assert!(text.contains("\"wrr\""), "{text}"),
            _ => assert!(text.contains("weight = 2"), "{text}"),
        }
    }
    assert_eq!(servers(&director.state()), ["192.168.19.2 5"]);
    assert_eq!(lab.fetch(2), ["web1"; 2]);
}

#[test]
fn edited_file_is_planned_applied_and_goes_before_the_command_line() {
    let lab = Lab::new("apply");
    let director = lab.seed_director();
    let edited = director.config_text().replace("# rack 2", "# rack 2\nweight = 0");
    director.write_config(&edited);
    let said = director.refused("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 7");
    assert!(said.contains("director.toml was edited") && said.contains("`tunlb apply`"), "{said}");
    assert_eq!(director.config_text(), edited);
    assert_eq!(servers(&director.state()), ["192.168.19.2 1", "192.168.19.3 1"]);

    let planned = director.ok("plan");
    assert!(planned.contains("192.168.19.3"), "{planned}");
    assert_eq!(director.ok("plan"), planned, "planning changes nothing");
    assert_eq!(director.ok("apply"), planned, "what was planned is what is done");
    assert_eq!(director.ok("plan"), "nothing to change\n");
    assert_eq!(lab.fetch(3), ["web1"; 3]);
    director.ok("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 7");

    // Another file takes the place of the configuration's text, whole or not at all.
    let other = lab.path("other.toml");
    std::fs::write(&other, format!("{}{SEED}", director.head("eth0"))).expect("writes");
    director.ok(&format!("apply {}", other.display()));
    assert!(director.config_text().contains("# rack 2\n"), "{}", director.config_text());
    eventually("both take flows", Duration::from_secs(1), || {
        let mut two = lab.fetch(2);
        two.sort();
        two == ["web1", "web2"]
    });
}
