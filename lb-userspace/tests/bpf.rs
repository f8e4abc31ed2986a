//! The committed objects in this kernel: loading, pinning, adopting, refusing. Needs root.

use std::{
    path::{Path, PathBuf},
    process,
};

use lb_common::Action;
use lb_userspace::{
    bpf::{BpfError, Director, Options},
    store::Capacity,
};

const CAPACITY: Capacity =
    Capacity { services: 16, real_servers: 64, lookup: 1024, vips: 16, flows: 1024 };

/// What the verifier may look at: a quarter of where it gives up. Linux 6.1 looks at 135 thousand,
/// 6.18 at 101 thousand.
const VERIFIED: u32 = 250_000;

/// A pin directory of this test's own, removed when the test ends.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("tunlb-test-{}-{test}", process::id())))
    }

    fn options(&self, capacity: Capacity) -> Options {
        Options { pin: self.0.clone(), capacity, icmp_limit: 10, debug: false }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        Director::remove(&self.0).expect("the pins can be removed");
        assert!(!self.0.exists());
    }
}

#[test]
fn the_verifier_accepts_the_director() {
    let pins = Pins::new("verify");
    let director = Director::open(&pins.options(CAPACITY)).expect("maps");
    let mut program = director.load(0).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let verified = program.verified_instructions().expect("a description");
    assert!(verified.is_none_or(|count| count < VERIFIED), "{verified:?} instructions looked at");
    let run = program.test_run(&[0; 64]).expect("a run");
    assert_eq!(run.action, Action::Pass);
    assert_eq!(run.frame, [0; 64]);
}

#[test]
fn maps_of_another_size_are_refused_and_kept() {
    let pins = Pins::new("layout");
    drop(Director::open(&pins.options(CAPACITY)).expect("maps"));
    let larger = Capacity { flows: 2048, ..CAPACITY };
    let refused = Director::open(&pins.options(larger)).err().expect("a refusal");
    assert!(matches!(refused, BpfError::Layout { .. }), "{refused}");
    assert!(refused.to_string().contains("FLOWS"), "{refused}");
    drop(Director::open(&pins.options(CAPACITY)).expect("the maps are still there"));
}
