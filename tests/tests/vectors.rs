//! Every packet vector through every engine.

use std::collections::BTreeSet;

use lb_common::Reason;
use tests::vector::{KernelEngine, MemoryEngine, load, names, run};

/// One test per file and engine, so that a failure says where.
macro_rules! vectors {
    ($($file:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($file)),*];

        /// Through the pipeline in memory.
        mod memory {
            $(#[test]
            fn $file() {
                super::check(super::run::<super::MemoryEngine>(stringify!($file)));
            })*
        }

        /// Through the committed objects in the kernel. Needs root.
        mod kernel {
            $(#[test]
            fn $file() {
                super::check(super::run::<super::KernelEngine>(stringify!($file)));
            })*
        }
    };
}

vectors! {
    arp echo encapsulate fragments limits malformed martian mtu pass_through protocols redirect
    schedule schedulers tcp_flow ttl_exceeded udp unwrap vlan
}

#[track_caller]
fn check(result: anyhow::Result<()>) {
    if let Err(error) = result {
        panic!("{error:#}");
    }
}

#[test]
fn every_file_is_run() {
    assert_eq!(names().expect("vectors"), FILES);
}

#[test]
fn there_are_sixty_vectors_and_every_reason_is_in_one() {
    /// Reasons that no frame can be made to meet.
    const UNREACHABLE: &[(Reason, &str)] = &[
        (Reason::DropInternal, "would show contradictory tables"),
        (Reason::DropHeadroom, "both engines hand frames over with enough room"),
    ];
    let mut seen: BTreeSet<Reason> = UNREACHABLE.iter().map(|(reason, _)| *reason).collect();
    let mut cases = 0;
    for name in names().expect("vectors") {
        let (file, _) = load(&name).expect("a file of vectors");
        cases += file.cases.len();
        seen.extend(file.cases.iter().flat_map(|case| &case.steps).map(|step| step.reason));
    }
    assert!(cases >= 60, "only {cases} vectors");
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !seen.contains(reason)).collect();
    assert!(missing.is_empty(), "no vector for {missing:?}");
}
