//! Ctrl-C and its like, turned into a flag that is looked at between steps, so that what was made
//! is also removed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

/// How often a wait looks at its condition and at the flag.
const STEP: Duration = Duration::from_millis(5);

/// The user wants to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whether a signal has asked the program to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT, SIGTERM and SIGHUP raise instead of ending the program, from now on and
    /// until it ends.
    ///
    /// # Errors
    ///
    /// If the signal handlers cannot be installed.
    pub fn install() -> std::io::Result<Self> {
        let flag = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        drop(guard);
        let raised = flag.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                raised.0.store(true, Ordering::SeqCst);
                // A second signal must not cut the clean-up short: the handlers stay installed for
                // as long as this thread lives.
                std::future::pending::<()>().await;
            });
        })?;
        Ok(flag)
    }

    /// Stops the caller if a signal has come.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] once a signal has come.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
    }

    /// Waits until `done` says so; false if `timeout` passes first.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] once a signal has come.
    pub fn wait_for(
        &self,
        timeout: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, Interrupted> {
        let end = Instant::now() + timeout;
        loop {
            self.check()?;
            if done() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            thread::sleep(STEP);
        }
    }
}
