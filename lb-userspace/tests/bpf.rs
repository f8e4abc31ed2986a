//! The committed objects in this kernel: loading, pinning, adopting, refusing. Needs root.

use std::{
    fs, io,
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

/// A pin directory of this test's own, removed when the test ends.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("tunlb-test-{}-{test}", process::id())))
    }

    fn options(&self, capacity: Capacity) -> Options {
        Options { pin: self.0.clone(), capacity, icmp_limit: 10, debug: false }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
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

#[test]
fn a_pin_directory_has_one_director_and_no_lock_file() {
    let pins = Pins::new("lock");
    let first = Director::open(&pins.options(CAPACITY)).expect("maps");
    let before = pins.names();
    let second = Director::open(&pins.options(CAPACITY)).err().expect("a refusal");
    assert!(matches!(second, BpfError::InUse { .. }), "{second}");
    assert!(second.to_string().contains(&format!("pid {}", process::id())), "{second}");
    let removal = Director::remove(&pins.0).expect_err("a refusal");
    assert!(matches!(removal, BpfError::InUse { .. }), "{removal}");
    assert_eq!(pins.names(), before);
    assert!(before.iter().all(|name| !name.contains("lock")), "{before:?}");
    drop(first);
    drop(Director::open(&pins.options(CAPACITY)).expect("free again"));
}
