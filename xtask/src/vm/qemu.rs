//! QEMU's command line and its life: started with its streams on sockets of ours, watched, ended.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::vm::{
    accel::Accel,
    console::{Console, Tail},
    kernel::Kernel,
};

/// Longer than the emulated boot takes on a machine that is busy with something else.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// For the machine's own report of a hang, before it is ended from here.
const GRACE: Duration = Duration::from_secs(15);

/// What the hardware looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hardware {
    pub accel: Accel,
    pub cpus: u32,
    /// MiB.
    pub memory: u32,
}

/// Where the parts of a run are.
pub(crate) struct Parts<'a> {
    pub kernel: &'a Kernel,
    pub initramfs: &'a Path,
    /// Shared writable.
    pub target: &'a Path,
    /// For the sockets.
    pub folder: &'a Path,
    /// Everything that the machine's console says is kept here.
    pub log: &'a Path,
}

/// How a run ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// By the command's end, with its status.
    Exit(u8),
    /// By a limit, in this stage.
    Hung(Stage),
    /// QEMU ended before the command did.
    Died(Stage),
}

/// How far a run got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Booting,
    Running,
}

/// Where the streams of the command go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Streams {
    /// To ours.
    Shown,
    /// Nowhere.
    Hidden,
    /// The serial console is the caller's terminal.
    Terminal,
}

/// A finished run: how it ended, how long the boot took, the last lines of the console.
pub(crate) struct Finished {
    pub ending: Ending,
    pub booted_after: Option<Duration>,
    pub last_lines: Vec<String>,
}

/// What the machine says on its control port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Report {
    Booted,
    Hung,
    Exit(u8),
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "booted" => Some(Self::Booted),
            "hung" => Some(Self::Hung),
            other => other.strip_prefix("exit ")?.parse().ok().map(Self::Exit),
        }
    }
}

/// Boots, runs what the initramfs says, and returns when the machine is off.
///
/// `limit` is for the command; none for a shell.
pub(crate) fn run(
    parts: &Parts<'_>,
    hardware: Hardware,
    streams: Streams,
    boot_limit: Option<Duration>,
    limit: Option<Duration>,
) -> Result<Finished> {
    let start = Instant::now();
    let (sender, reports) = mpsc::channel();
    let tail = Arc::new(Tail::default());
    let mut readers = Vec::new();
    readers.push(accept(parts, "control", move |stream| {
        for line in BufReader::new(stream).lines().map_while(io::Result::ok) {
            if let Some(report) = Report::parse(&line) {
                // The receiver is gone only when nobody wants to know.
                let _ = sender.send(report);
            }
        }
    })?);
    let shown = streams == Streams::Shown;
    readers.push(accept(parts, "stdout", move |stream| copy(stream, shown, io::stdout()))?);
    readers.push(accept(parts, "stderr", move |stream| copy(stream, shown, io::stderr()))?);
    if streams != Streams::Terminal {
        let mut console =
            Console::new(tail.clone(), File::create(parts.log).context("make the log")?);
        readers.push(accept(parts, "console", move |stream| console.read_from(stream))?);
    }

    let mut qemu = spawn(parts, hardware, streams)?;
    let mut stage = Stage::Booting;
    let mut booted_after = None;
    let mut ending = None;
    let mut deadline = Some(start + boot_limit.unwrap_or(BOOT_LIMIT));
    while ending.is_none() {
        match reports.recv_timeout(Duration::from_millis(100)) {
            Ok(Report::Booted) => {
                stage = Stage::Running;
                booted_after = Some(start.elapsed());
                deadline = limit.map(|limit| Instant::now() + limit + GRACE);
            }
            Ok(Report::Exit(status)) => ending = Some(Ending::Exit(status)),
            Ok(Report::Hung) => ending = Some(Ending::Hung(stage)),
            Err(RecvTimeoutError::Timeout) => {
                if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                    qemu.kill().context("end QEMU")?;
                    ending = Some(Ending::Hung(stage));
                }
            }
            // QEMU has closed its end: it is gone. One that never opened it is found below.
            Err(RecvTimeoutError::Disconnected) => ending = Some(Ending::Died(stage)),
        }
        if ending.is_none() && qemu.try_wait().context("look after QEMU")?.is_some() {
            // Its last words may still be on their way.
            let last = reports.recv_timeout(Duration::from_millis(200));
            ending = Some(match last {
                Ok(Report::Exit(status)) => Ending::Exit(status),
                _ => Ending::Died(stage),
            });
        }
    }
    end(&mut qemu)?;
    for reader in readers {
        reader.finish();
    }
    Ok(Finished {
        ending: ending.unwrap_or(Ending::Died(stage)),
        booted_after,
        last_lines: tail.lines(),
    })
}

/// Waits until the machine has switched itself off; not for ever.
fn end(qemu: &mut Child) -> Result<()> {
    let deadline = Instant::now() + GRACE;
    while qemu.try_wait().context("look after QEMU")?.is_none() {
        if Instant::now() > deadline {
            qemu.kill().context("end QEMU")?;
            qemu.wait().context("look after QEMU")?;
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A thread that reads what QEMU writes to one socket.
struct Reader {
    path: PathBuf,
    thread: thread::JoinHandle<()>,
}

impl Reader {
    fn finish(self) {
        // Should QEMU never have connected, this does, and the thread reads an end.
        drop(UnixStream::connect(&self.path));
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn accept(
    parts: &Parts<'_>,
    name: &str,
    read: impl FnOnce(UnixStream) + Send + 'static,
) -> Result<Reader> {
    let path = parts.folder.join(name);
    let listener = UnixListener::bind(&path).with_context(|| format!("make {}", path.display()))?;
    let thread = thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            read(stream);
        }
    });
    Ok(Reader { path, thread })
}

/// Copies as it comes; once nobody reads ours any more, goes on reading theirs, so that the machine does not stand still.
fn copy(mut from: impl Read, shown: bool, mut to: impl Write) {
    let mut buffer = [0; 16 * 1024];
    let mut shown = shown;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        shown = shown && to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_ok();
    }
}

fn spawn(parts: &Parts<'_>, hardware: Hardware, streams: Streams) -> Result<Child> {
    // It goes when we go, however we go.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args(arguments(parts, hardware, streams));
    if streams != Streams::Terminal {
        command.stdin(Stdio::null());
    }
    if streams == Streams::Hidden {
        command.stderr(Stdio::null());
    }
    command.spawn().context("cannot start setpriv (Debian package util-linux)")
}

fn arguments(parts: &Parts<'_>, hardware: Hardware, streams: Streams) -> Vec<String> {
    let Hardware { accel, cpus, memory } = hardware;
    let terminal = streams == Streams::Terminal;
    let mut words: Vec<String> = Vec::new();
    let mut option = |name: &str, value: String| words.extend([format!("-{name}"), value]);
    option("accel", accel.option().to_owned());
    option("cpu", accel.cpu().to_owned());
    option("smp", cpus.to_string());
    option("m", memory.to_string());
    option("display", "none".to_owned());
    option("vga", "none".to_owned());
    option("monitor", "none".to_owned());
    option("kernel", parts.kernel.image().display().to_string());
    option("initrd", parts.initramfs.display().to_string());
    // A panic ends the machine at once. In a shell the kernel's chatter would be in the way.
    let loudness = if terminal { "quiet" } else { "loglevel=6" };
    option("append", format!("console=ttyS0 {loudness} panic=-1 mitigations=off"));
    for (name, path, access) in
        [("root", Path::new("/"), ",readonly=on"), ("target", parts.target, "")]
    {
        // Without remapping, the inode numbers of two file systems collide and folders show what is in others.
        let path = path.display();
        option(
            "fsdev",
            format!("local,id={name},path={path},security_model=none,multidevs=remap{access}"),
        );
        option("device", format!("virtio-9p-pci,fsdev={name},mount_tag={name}"));
    }
    option("device", "virtio-serial-pci".to_owned());
    for name in ["control", "stdout", "stderr"] {
        let path = parts.folder.join(name);
        option("chardev", format!("socket,id={name},path={}", path.display()));
        option("device", format!("virtserialport,chardev={name},name={name}"));
    }
    if terminal {
        // Raw, and Ctrl-C goes inside; Ctrl-A X ends QEMU.
        option("chardev", "stdio,id=console,signal=off,mux=on".to_owned());
    } else {
        let path = parts.folder.join("console");
        option("chardev", format!("socket,id=console,path={}", path.display()));
    }
    option("serial", "chardev:console".to_owned());
    words.push("-nodefaults".to_owned());
    words.push("-no-reboot".to_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_understood_and_noise_is_not() {
        assert_eq!(Report::parse("booted\n"), Some(Report::Booted));
        assert_eq!(Report::parse("exit 3"), Some(Report::Exit(3)));
        assert_eq!(Report::parse("hung"), Some(Report::Hung));
        for noise in ["", "exit", "exit 300", "exit x"] {
            assert_eq!(Report::parse(noise), None, "{noise}");
        }
    }

    #[test]
    fn output_goes_on_being_read_when_nobody_takes_it() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut from: &[u8] = &[1; 100_000];
        copy(&mut from, true, Closed);
        assert!(from.is_empty());
        let mut to = Vec::new();
        copy(&b"text"[..], true, &mut to);
        assert_eq!(to, b"text");
    }
}
