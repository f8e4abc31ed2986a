//! Processes by id and start time, so that only those that were started here are ever ended.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(5);

/// A process, told apart from a later one that got the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it is, for messages.
    pub name: String,
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The running process of that number.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn running(name: &str, pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let Some((_, started)) = status(pid) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        Ok(Self { name: name.to_owned(), pid, started })
    }

    /// Whether it still runs. One that has ended and waits for its parent to notice does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        status(self.pid).is_some_and(|(state, started)| started == self.started && state != 'Z')
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended; false if `timeout` passes first.
    #[must_use]
    pub fn ended_within(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        while self.alive() {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(STEP);
        }
        true
    }
}

/// Asks all of them to end, and makes those end that do not.
pub(super) fn end_all(processes: &[Process]) {
    // A signal that cannot be sent shows in that the process goes on.
    for process in processes {
        let _ = process.signal(Signal::SIGTERM);
    }
    for process in processes {
        if !process.ended_within(PATIENCE) {
            tracing::warn!(name = process.name, pid = process.pid, "has to be killed");
            let _ = process.signal(Signal::SIGKILL);
            let _ = process.ended_within(PATIENCE);
        }
    }
}

/// State letter and start time of a process (proc_pid_stat(5), fields 3 and 22).
fn status(pid: i32) -> Option<(char, u64)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself have spaces and
    // parentheses.
    let (_, fields) = line.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn only_the_very_process_counts() {
        let own = Process::running("test", process::id()).expect("runs");
        assert!(own.alive());
        let earlier = Process { started: own.started - 1, ..own };
        assert!(!earlier.alive());
        earlier.signal(Signal::SIGKILL).expect("nobody to signal is no error");
    }

    #[test]
    fn ended_process_is_not_alive_before_it_is_reaped() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().expect("starts");
        let process = Process::running("sleep", child.id()).expect("runs");
        end_all(std::slice::from_ref(&process));
        assert!(!process.alive());
        assert!(!child.wait().expect("can be waited for").success());
    }
}
