//! Mutations of every vector's frames: memory and kernel do the same with each. Needs root.

use std::collections::BTreeSet;

use tests::vector::{Engine, Fixture, KernelEngine, MemoryEngine, Mutations, agree, load, names};

/// Frames that share tables; fewer flows than crowd each other out.
const ROUND: usize = 100;

/// All frames of the vectors that the kernel's test run takes, each once.
fn corpus() -> Vec<Vec<u8>> {
    let files = names().expect("vectors").into_iter().map(|name| load(&name).expect("a file").0);
    let steps = files.flat_map(|file| file.cases).flat_map(|case| case.steps);
    let frames: BTreeSet<Vec<u8>> = steps.map(|step| step.frame.0).collect();
    frames.into_iter().filter(|frame| frame.len() >= 14).collect()
}

fn fixture(name: &str) -> Fixture {
    let (_, mut fixtures) = load("arp").expect("fixtures");
    // A tick may begin in one engine only, so the limit on errors must not be reached.
    Fixture { limit: u32::MAX, ..fixtures.remove(name).expect("a fixture") }
}

/// At least `variety` reasons must have been met, or the mutations show little.
fn check(name: &str, seed: u64, rounds: usize, variety: usize) {
    let fixture = fixture(name);
    let corpus = corpus();
    let mut mutations = Mutations::new(&corpus, seed);
    let mut kernel = KernelEngine::new(&fixture).expect("the program is loaded");
    let mut met = BTreeSet::new();
    for round in 0..rounds {
        if round > 0 && !kernel.renew(&fixture).expect("tables") {
            kernel = KernelEngine::new(&fixture).expect("the program is loaded");
        }
        let mut memory = MemoryEngine::new(&fixture).expect("tables");
        let frames: Vec<_> = mutations.by_ref().take(ROUND).collect();
        match agree(&mut memory, &mut kernel, &fixture, &frames) {
            Ok(reasons) => met.extend(reasons),
            Err(error) => panic!("{name}, round {round}: {error:#}"),
        }
    }
    assert!(met.len() >= variety, "only {met:?}");
}

#[test]
fn director() {
    check("seed", 1, 40, 14);
}

#[test]
fn director_with_ip_vs_s_addresses() {
    check("ipvs_rr", 2, 40, 13);
}

#[test]
fn director_with_a_narrow_path() {
    check("narrow", 3, 40, 12);
}

#[test]
fn director_behind_a_vlan() {
    check("tagged_here", 4, 20, 12);
}

#[test]
fn director_without_servers() {
    check("no_servers", 5, 20, 10);
}

#[test]
fn director_with_a_vip_of_its_own() {
    check("local", 6, 20, 4);
}

#[test]
fn real_server() {
    check("real_server", 7, 60, 3);
}
