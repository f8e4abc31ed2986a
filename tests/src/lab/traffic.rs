//! Traffic that never stops while something is done to the director: old connections, new ones, and
//! a stream of datagrams, in which nothing hides a loss.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use lb_userspace::demo::{
    http::{self, Connection},
    seed::{self, Host},
};

use super::{ANSWER_WITHIN, Lab, SOON, eventually};

/// How long each sender waits until it sends again.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the last datagrams may be on their way.
const LAST: Duration = Duration::from_millis(500);

/// How far the traffic has come.
#[derive(Default)]
pub struct Progress {
    stop: AtomicBool,
    old: AtomicU64,
    new: AtomicU64,
    datagrams: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What became of it.
#[derive(Debug)]
pub struct Report {
    /// Requests over old connections that were answered.
    pub old: u64,
    /// Requests over new connections that were answered.
    pub new: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Every request that failed, every connection that moved, every datagram lost.
    pub failures: Vec<String>,
}

impl Progress {
    /// Waits until each kind of traffic has come further.
    ///
    /// # Panics
    ///
    /// If it stands still.
    #[track_caller]
    pub fn goes_on(&self) {
        let now =
            || [&self.old, &self.new, &self.datagrams].map(|count| count.load(Ordering::Relaxed));
        let before = now();
        eventually("traffic goes on", SOON, || {
            now().iter().zip(before).all(|(now, before)| *now >= before + 10)
        });
    }

    fn going(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, failure: String) {
        if let Ok(mut failures) = self.failures.lock() {
            failures.push(failure);
        }
    }
}

/// Stops the traffic also when the test panics.
struct Stop<'a>(&'a Progress);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Does `work` while the client uses `connections` old connections and new ones all the time, and
/// sends datagrams to the VIP's UDP port `port`.
///
/// # Panics
///
/// If `work` does.
pub fn under_traffic(
    lab: &Lab,
    connections: usize,
    port: u16,
    work: impl FnOnce(&Progress),
) -> Report {
    let progress = Arc::new(Progress::default());
    thread::scope(|scope| {
        let stop = Stop(&progress);
        scope.spawn(|| lab.on_async(Host::Client, || http(&progress, connections)));
        scope.spawn(|| datagrams(&progress, &lab.udp_client(port, LAST)));
        progress.goes_on();
        work(&progress);
        drop(stop);
    });
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Report {
        old: count(&progress.old),
        new: count(&progress.new),
        datagrams: count(&progress.datagrams),
        failures: std::mem::take(&mut progress.failures.lock().expect("no thread panicked")),
    }
}

async fn http(progress: &Arc<Progress>, connections: usize) {
    let mut tasks: Vec<_> = (0..connections)
        .map(|number| tokio::spawn(old_connection(Arc::clone(progress), number)))
        .collect();
    tasks.push(tokio::spawn(new_connections(Arc::clone(progress))));
    for task in tasks {
        if let Err(error) = task.await {
            progress.fail(error.to_string());
        }
    }
}

async fn old_connection(progress: Arc<Progress>, number: usize) {
    let mut connection = match Connection::open(seed::SERVICE).await {
        Ok(connection) => connection,
        Err(error) => return progress.fail(format!("connection {number}: {error}")),
    };
    let mut server = None;
    while progress.going() {
        match tokio::time::timeout(ANSWER_WITHIN, connection.request("/", None)).await {
            Ok(Ok(answer)) => {
                let answer = answer.text();
                if *server.get_or_insert_with(|| answer.clone()) != answer {
                    return progress.fail(format!("connection {number} moved to {answer}"));
                }
                progress.old.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => return progress.fail(format!("connection {number}: {error}")),
            Err(_) => return progress.fail(format!("connection {number}: no answer")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn new_connections(progress: Arc<Progress>) {
    while progress.going() {
        match http::fetch(seed::SERVICE, ANSWER_WITHIN).await {
            Ok(_) => _ = progress.new.fetch_add(1, Ordering::Relaxed),
            Err(error) => progress.fail(format!("new connection: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn datagrams(progress: &Progress, socket: &UdpSocket) {
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(progress, socket));
        while progress.going() {
            let number = progress.datagrams.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = socket.send(number.to_string().as_bytes()) {
                progress.fail(format!("datagram {number}: {error}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        receiver.join().unwrap_or_default()
    });
    let sent = progress.datagrams.load(Ordering::Relaxed);
    let lost: Vec<_> = (0..sent).filter(|number| !received.contains(number)).collect();
    if !lost.is_empty() {
        progress.fail(format!("{} datagrams lost of {sent}: {lost:?}", lost.len()));
    }
}

/// Receives until the traffic is to stop and nothing comes any more.
fn receive(progress: &Progress, socket: &UdpSocket) -> BTreeSet<u64> {
    let mut received = BTreeSet::new();
    let mut server = None;
    let mut buffer = [0; 64];
    loop {
        let Ok(length) = socket.recv(&mut buffer) else {
            if progress.going() {
                continue;
            }
            return received;
        };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let Some((from, number)) = text.split_once(' ') else { continue };
        if *server.get_or_insert_with(|| from.to_owned()) != from {
            progress.fail(format!("datagrams moved to {from}"));
        }
        received.extend(number.parse::<u64>());
    }
}
