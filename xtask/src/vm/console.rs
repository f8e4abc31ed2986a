//! The machine's serial console: kept in a file, with its last lines at hand for a report.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

/// As many as say where something hangs, a list of processes included.
const KEPT: usize = 40;

/// The last lines that were read.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// What reads the console.
pub(crate) struct Console {
    tail: Arc<Tail>,
    log: File,
    line: String,
}

impl Console {
    pub(crate) fn new(tail: Arc<Tail>, log: File) -> Self {
        Self { tail, log, line: String::new() }
    }

    /// Reads to the end.
    pub(crate) fn read_from(&mut self, mut stream: impl Read) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            // A full disk must not keep the machine from running.
            let _ = self.log.write_all(&buffer[..length]);
            self.take(&buffer[..length]);
        }
        self.end_line();
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b' '..=b'~' => self.line.push(char::from(byte)),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.tail.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_readable() {
        let tail = Arc::new(Tail::default());
        let log = tempfile::tempfile().expect("a file");
        let mut console = Console::new(tail.clone(), log);
        let text: String = (0..100).map(|n| format!("line {n}\x07\r\n\r\n")).collect();
        console.read_from(format!("{text}unfinished").as_bytes());
        let lines = tail.lines();
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines[KEPT - 2], "line 99");
        assert_eq!(lines[KEPT - 1], "unfinished");
    }
}
