//! The benchmarks work on this machine: every program loads, every row takes the way that it is about.
//! Needs root; says so and passes without.
//!
//! What only the stock kernel has (ip_vs, pktgen) is measured there: see xtask's `vm::suite`.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use assert_cmd::Command;
use lb_userspace::{
    bpf::attach_pass,
    netlink::{Netlink, NetlinkError},
    netns::Namespace,
};

#[test]
fn a_quick_benchmark_measures_every_row() {
    if !root() {
        return;
    }
    let text = bench(&["packet", "--quick"]);
    for row in ["known TCP flow, 64K flows", "textbook, every packet a new flow", "live frames"] {
        assert!(text.contains(row), "{row} is not in:\n{text}");
    }
    let json = report("packet");
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(19));
}

#[test]
fn a_quick_end_to_end_run_forwards_what_is_sent() {
    if !root() {
        return;
    }
    let text = bench(&["end-to-end", "--quick", "--here"]);
    assert!(text.contains("SYN flood"), "{text}");
    let json = report("end-to-end");
    let rows = json["rows"].as_array().expect("rows");
    // A kernel without ip_vs or pktgen says so and measures the rest.
    let missing = json["missing"].as_array().map(Vec::len).expect("a list");
    assert_eq!(text.matches("not measured: ").count(), missing, "{text}");
    assert!(rows.len() >= 2, "{rows:?}");
    for row in rows {
        assert_eq!(row["engines"][0]["engine"], "tunlb");
        let rounds = row["engines"][0]["delivered"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2);
        // Packets are lost where a machine is too busy to take them; never most of them.
        for delivered in rounds.iter().filter_map(serde_json::Value::as_f64) {
            assert!(delivered > 0.5 && delivered <= 1.0, "{row}");
        }
    }
}

#[test]
fn a_quick_connections_run_is_answered_every_way() {
    if !root() {
        return;
    }
    let text = bench(&["connections", "--quick", "--here"]);
    for row in ["keep-alive requests, tunlb", "new connections, no balancer"] {
        assert!(text.contains(row), "{row} is not in:\n{text}");
    }
    let json = report("connections");
    for row in json["kernels"][0]["rows"].as_array().expect("rows") {
        let rates = row["rate"].as_array().expect("rounds");
        assert!(rates.iter().all(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0)), "{row}");
    }
}

#[test]
fn options_for_hardware_that_make_no_sense_are_refused() {
    let mac = "02:00:00:00:00:01";
    for (arguments, problem) in [
        (&["--interface", "eth7"][..], "--dst-mac <MAC>"),
        (&["--dst-mac", mac], "--interface <IF>"),
        (&["--interface", "eth7", "--dst-mac", "1:2:3"], "six bytes in hexadecimal"),
        (&["--interface", "eth7", "--dst-mac", "ff:ff:ff:ff:ff:ff"], "no single machine's"),
        (&["--interface", "eth7", "--dst-mac", mac, "--here"], "cannot be used with"),
        (&["--interface", "eth7", "--dst-mac", mac, "--vip", "shop"], "invalid value 'shop'"),
        (&["--flows", "1000"], "power of two"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["bench", "end-to-end"])
            .args(arguments)
            .assert()
            .code(2);
        let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(said.contains(problem), "{arguments:?}: {said}");
    }
}

#[test]
fn frames_go_out_of_an_interface_toward_a_director_elsewhere() {
    if !root() {
        return;
    }
    let namespace =
        Namespace::create(&format!("t{}-bench", std::process::id())).expect("a namespace");
    let link = |up: bool| {
        namespace.run_async(|| async move {
            let netlink = Netlink::connect()?;
            if !up {
                netlink.create_veth("near", "far", None).await?;
                return Ok(());
            }
            for name in ["near", "far"] {
                let index = netlink.require_link(name).await?.index;
                netlink.set_link_up(index, true).await?;
            }
            Ok::<_, NetlinkError>(())
        })
    };
    let send = |interface: &str, generator: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["bench", "end-to-end", "--interface", interface, "--dst-mac"])
            .args(["02:00:00:00:00:01", "--seconds", "1", "--generator", generator])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = namespace.spawn(&mut command).expect("starts");
        child.wait_with_output().expect("ends")
    };
    let error = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let none = send("near", "live");
    assert!(!none.status.success() && error(&none).contains("near"), "{}", error(&none));
    link(false).expect("enters").expect("makes links");
    let down = send("near", "live");
    assert!(error(&down).contains("it is down; `ip link set near up`"), "{}", error(&down));
    link(true).expect("enters").expect("sets them up");
    let _pass = namespace.run(|| attach_pass("far")).expect("enters").expect("attaches");
    let received = || {
        let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev"));
        let text = text.expect("enters").expect("reads");
        let far = text.lines().find_map(|line| line.trim().strip_prefix("far:"));
        let packets = far.and_then(|counters| counters.split_whitespace().nth(1));
        packets.and_then(|packets| packets.parse::<u64>().ok()).expect("a counter")
    };
    let before = received();
    let live = send("near", "live");
    assert!(live.status.success(), "{}", error(&live));
    let text = String::from_utf8_lossy(&live.stdout);
    let counted = text.split_once("near counts ").and_then(|(_, rest)| rest.split(' ').next());
    let counted: u64 = counted.and_then(|count| count.parse().ok()).expect("says how many left");
    // The first ones, which it finds its pace by, are not in what it says.
    assert!(counted > 0 && received() - before >= counted, "{text}");

    let pktgen = send("near", "pktgen");
    if !pktgen.status.success() {
        assert!(error(&pktgen).contains("this kernel has no pktgen"), "{}", error(&pktgen));
    }
}

/// Runs a benchmark to its end.
fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("bench").args(arguments).assert();
    String::from_utf8_lossy(&output.success().get_output().stdout).into_owned()
}

/// What a benchmark has written, and that there is a chart beside it.
fn report(name: &str) -> serde_json::Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let json = fs::read(folder.join(format!("{name}.json"))).expect("JSON is written");
    let chart = fs::read_to_string(folder.join(format!("{name}.svg"))).expect("a chart is written");
    assert!(chart.starts_with("<svg"), "{chart:.40}");
    serde_json::from_slice(&json).expect("it is JSON")
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
