//! A network namespace per test, made and removed with the thread that runs it.

use std::{fs::File, future::Future, os::fd::OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

/// Runs a test inside a fresh network namespace: a thread of its own enters it, and the namespace goes with the thread.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "this test makes network namespaces: run it as root (cargo xtask test does)"
    );
    let result = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(test());
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// The namespace that the calling thread is in.
pub(crate) fn current_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").expect("open the thread's namespace").into()
}

/// A second namespace, empty; the calling thread stays where it is.
pub(crate) fn new_namespace() -> OwnedFd {
    let home = current_namespace();
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace");
    let made = current_namespace();
    setns(home, CloneFlags::CLONE_NEWNET).expect("return to the first namespace");
    made
}

/// Runs `action` with the calling thread inside another namespace.
pub(crate) fn within<T>(namespace: &OwnedFd, action: impl FnOnce() -> T) -> T {
    let home = current_namespace();
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
    let result = action();
    setns(home, CloneFlags::CLONE_NEWNET).expect("return to the first namespace");
    result
}
