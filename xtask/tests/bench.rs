//! The benchmark works on this machine: every program loads, every row takes the way that it is about.
//! Needs root; says so and passes without.

use std::{fs, path::Path};

use assert_cmd::Command;

#[test]
fn a_quick_benchmark_measures_every_row() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "packet", "--quick"])
        .assert()
        .success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for row in ["known TCP flow, 64K flows", "textbook, every packet a new flow", "live frames"] {
        assert!(text.contains(row), "{row} is not in:\n{text}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let json = fs::read(folder.join("packet.json")).expect("JSON is written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(19));
    let chart = fs::read_to_string(folder.join("packet.svg")).expect("a chart is written");
    assert!(chart.starts_with("<svg"), "{chart:.40}");
}
