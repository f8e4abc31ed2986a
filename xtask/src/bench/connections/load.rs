//! HTTP clients that ask as fast as they are answered.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::demo::http::Connection;
use serde::{Deserialize, Serialize};

/// How long a request may take, connecting included: TCP tries a lost SYN after 1, 3 and 7 seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the clients do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Load {
    /// One request after the other over one connection each.
    KeepAlive,
    /// A connection for each request.
    NewConnections,
}

impl Load {
    pub(super) const ALL: [Self; 2] = [Self::KeepAlive, Self::NewConnections];
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Requests per second.
    pub(super) rate: f64,
    /// The time from asking, or connecting, to the whole answer, in microseconds: half of the requests took at most this.
    pub(super) median: f64,
    /// 99 of 100 took at most this.
    pub(super) percentile_99: f64,
}

/// Lets `clients` ask a server, all at once, for some time, from the current thread's network namespace.
pub(super) async fn ask(
    server: SocketAddrV4,
    load: Load,
    clients: u32,
    time: Duration,
) -> Result<Outcome> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| match load {
            Load::KeepAlive => tokio::spawn(keep_alive(server, start + time)),
            Load::NewConnections => {
                tokio::spawn(async move { new_connections(server, start + time).await })
            }
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.context("a client broke down")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let (Some(median), Some(percentile_99)) = (percentile(&times, 50), percentile(&times, 99))
    else {
        bail!("no client asked {server}");
    };
    Ok(Outcome { rate: times.len() as f64 / seconds, median, percentile_99 })
}

async fn keep_alive(server: SocketAddrV4, end: Instant) -> Result<Vec<Duration>> {
    let mut connection = within(Connection::open(server)).await?;
    let mut times = Vec::new();
    // Once in any case: emulated, a first answer takes longer than a short run.
    loop {
        let start = Instant::now();
        request(&mut connection).await?;
        times.push(start.elapsed());
        if Instant::now() >= end {
            return Ok(times);
        }
    }
}

async fn new_connections(server: SocketAddrV4, end: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let mut connection = within(Connection::open(server)).await?;
        request(&mut connection).await?;
        times.push(start.elapsed());
        if Instant::now() >= end {
            return Ok(times);
        }
    }
}

async fn request(connection: &mut Connection) -> Result<()> {
    match within(connection.request("/", None)).await?.status {
        200 => Ok(()),
        status => bail!("the server answered with status {status}"),
    }
}

async fn within<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T>
where
    anyhow::Error: From<E>,
{
    let done = tokio::time::timeout(PATIENCE, work).await;
    Ok(done.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??)
}

/// The smallest of the sorted times that `percent` of them do not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        // The worked example of "Percentile", nearest-rank method: 15, 20, 35, 40, 50.
        let times = [15, 20, 35, 40, 50].map(Duration::from_micros);
        let rounded = |percent| percentile(&times, percent).map(f64::round);
        assert_eq!(rounded(30), Some(20.0));
        assert_eq!(rounded(40), Some(20.0));
        assert_eq!(rounded(50), Some(35.0));
        assert_eq!(rounded(100), Some(50.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
