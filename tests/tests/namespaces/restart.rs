//! The daemon may die, the traffic may not.

use std::time::Duration;

use lb_userspace::{api::State, bpf::Mode, demo::seed::Host};
use nix::sys::signal::Signal;
use tests::lab::{
    Director, EchoServer, KeepAlive, Lab, SEED, ask, count, eventually, under_traffic, vip,
};

/// The seed's service and a UDP one.
const SERVICES: &str = "
[[service]]
address = \"udp:192.168.19.100:7\"

[[service.server]]
address = \"192.168.19.2\"

[[service.server]]
address = \"192.168.19.3\"
";

/// What has to be the same after a restart under traffic.
fn lasting(mut state: State) -> State {
    state.pid = 0;
    state.flow_table.in_use = None;
    for server in state.services.iter_mut().flat_map(|service| &mut service.servers) {
        server.flows = None;
    }
    state
}

#[test]
fn restarts_and_kills_under_traffic_lose_nothing() {
    let lab = Lab::new("restart");
    let _echo = Host::REAL_SERVERS.map(|host| EchoServer::start(&lab, host, 7));
    let mut director = lab.director(&format!("{SEED}{SERVICES}"));
    director.start();
    let report = under_traffic(&lab, 20, 7, |traffic| {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let state = lasting(director.state());
            let stats = director.stats();
            let program = lab.xdp(Host::Director, "eth0").expect("is attached");
            assert_eq!(program.mode, Mode::Native);

            director.stop(signal);
            traffic.goes_on();
            assert_eq!(lab.xdp(Host::Director, "eth0"), Some(program), "it goes on as it was");

            director.start();
            traffic.goes_on();
            let replaced = lab.xdp(Host::Director, "eth0").expect("is attached");
            assert_ne!(replaced.id, program.id, "the new daemon's program runs");
            assert!(director.said().contains("took over interface eth0"), "{}", director.said());
            assert_eq!(lasting(director.state()), state);
            let now = director.stats();
            for (before, now) in stats.reasons.iter().zip(&now.reasons) {
                assert!(now.count >= before.count, "{} went back", now.reason);
            }
            for (before, now) in stats.services.iter().zip(&now.services) {
                assert!(
                    now.traffic.packets > before.traffic.packets,
                    "{} stood still",
                    now.address
                );
                assert!(now.traffic.flows >= before.traffic.flows);
            }
            // A flow that was forgotten would have met this.
            assert_eq!(count(&now, "reset-no-flow"), count(&stats, "reset-no-flow"));
        }
    });
    assert_eq!(report.failures, [""; 0], "{report:?}");
}

/// What `list` says of the flows of each server of each service, active and inactive, and of all.
fn flows(director: &Director<'_>) -> (Vec<(u32, u32)>, Option<u32>) {
    let state = director.state();
    let servers = state.services.iter().flat_map(|service| &service.servers);
    let flows = servers.map(|server| server.flows.expect("are counted"));
    (flows.map(|flows| (flows.active, flows.inactive)).collect(), state.flow_table.in_use)
}

#[test]
fn flows_are_counted_and_the_next_daemon_counts_them_before_it_answers() {
    let lab = Lab::new("flows");
    let _echo = Host::REAL_SERVERS.map(|host| EchoServer::start(&lab, host, 7));
    let mut director = lab.director(&format!("{SEED}{SERVICES}"));
    director.start();
    assert_eq!(flows(&director), (vec![(0, 0); 4], Some(0)));
    let clients: Vec<_> = (0..6).map(|_| lab.udp_client(7, Duration::from_secs(2))).collect();
    for client in &clients {
        ask(client, "?").expect("an answer");
    }
    assert_eq!(lab.fetch(4), ["web1", "web2", "web1", "web2"]);
    lab.on_async(Host::Client, || async {
        let mut connections = [KeepAlive::open().await, KeepAlive::open().await];
        for connection in &mut connections {
            connection.ask().await;
        }
        // Each server has one that is open, two that were closed, and three flows of datagrams.
        let expected = (vec![(1, 2), (1, 2), (0, 3), (0, 3)], Some(12));
        eventually("flows are counted", Duration::from_secs(5), || flows(&director) == expected);
        let listed = director.ok("list");
        assert!(listed.contains("flow table: 12 in use, room for "), "{listed}");
        director.stop(Signal::SIGKILL);
        director.start();
        assert_eq!(flows(&director), expected);
    });
}

#[test]
fn file_that_changed_while_the_daemon_was_down_is_carried_out_by_the_next() {
    let lab = Lab::new("upgrade");
    let one = |address: &str, server: &str| {
        format!(
            "[[service]]\naddress = \"{address}\"\n[[service.server]]\naddress = \"{server}\"\n"
        )
    };
    let (old, new) = (8080, 8081);
    for port in [old, new] {
        lab.serve(Host::Rs1, vip(port), "other");
    }
    let mut director =
        lab.director(&format!("{SEED}{}", one("tcp:192.168.19.100:8080", "192.168.19.2")));
    director.start();
    assert_eq!(lab.try_fetch(vip(old), Duration::from_secs(4)).expect("answers"), "other");
    lab.on_async(Host::Client, || async {
        let mut connections = [KeepAlive::open().await, KeepAlive::open().await];
        let mut servers = Vec::new();
        for connection in &mut connections {
            servers.push(connection.ask().await);
        }
        servers.sort();
        assert_eq!(servers, ["web1", "web2"]);

        director.stop(Signal::SIGKILL);
        // rs2 goes; rs1 stays, with another weight; one service goes, another comes.
        director.configure(&format!(
            "{}weight = 3\n{}",
            one("tcp:192.168.19.100:80", "192.168.19.2"),
            one("tcp:192.168.19.100:8081", "192.168.19.2"),
        ));
        director.start();

        for connection in &mut connections {
            match connection.ask_within(Duration::from_secs(1)).await {
                Ok(server) => {
                    assert_eq!(server, "web1", "the server that went has no flows any more");
                }
                Err(error) => assert!(error.contains("broken exchange"), "{error}"),
            }
        }
    });
    assert!(count(&director.stats(), "reset-no-flow") > 0);
    assert_eq!(lab.fetch(3), ["web1"; 3]);
    let answer = |port| lab.try_fetch(vip(port), Duration::from_millis(500));
    assert_eq!(answer(new).expect("a service now"), "other");
    answer(old).expect_err("no service any more");
    let state = director.state();
    let listed: Vec<_> = state.services.iter().map(|service| service.address.to_string()).collect();
    assert_eq!(listed, ["tcp:192.168.19.100:80", "tcp:192.168.19.100:8081"]);
    assert_eq!(state.services[0].servers.len(), 1);
    assert_eq!(state.services[0].servers[0].weight.get(), 3);

    // The place that rs2 left is free for whom comes next: back as it was.
    director.stop(Signal::SIGTERM);
    director.configure(SEED);
    director.start();
    let mut servers = lab.fetch(4);
    servers.sort();
    assert_eq!(servers, ["web1", "web1", "web2", "web2"]);
}
