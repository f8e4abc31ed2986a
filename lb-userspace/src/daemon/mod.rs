//! The director daemon: takes over or loads the data path, keeps it what the configuration says
//! and what the network needs, and answers on its socket.
//!
//! The data path goes on without it. One task owns everything and does one thing at a time, and
//! waits for nothing; the HTTP interface, the network and signals only tell it what to do next. Beside
//! it, a thread goes through the flow table.

mod control;
mod data_plane;
mod error;
mod network;
mod order;
mod report;
mod server;
mod socket;
mod sweeping;

use std::{path::PathBuf, time::Duration};

use tokio::{
    net::UnixListener,
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

pub use control::{Candidate, Control, servers};
pub use data_plane::{Attachment, DataPlane, DataPlaneError, KernelDataPlane, Sweeper};
pub use error::DaemonError;
pub use network::{KernelNetwork, Network, View};
pub use socket::{SocketName, listen};
pub use sweeping::SWEEP_PERIOD;

use self::{
    order::{Order, Orders},
    server::{Reply, Request},
    sweeping::Sweeping,
};
use crate::{
    api::Changes,
    config::{Config, ConfigFile, Overrides},
    plan::Line,
};

/// What the daemon is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// What goes before it.
    pub overrides: Overrides,
    /// Whether the data path logs every outcome.
    pub debug: bool,
}

/// How long answers may take to get out when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long after a look at the network that failed the next one is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often interfaces are looked at from which others have detached the program, which the kernel
/// does not announce.
const UPKEEP: Duration = Duration::from_secs(60);

/// Runs the daemon until `stop` is done or a client asks it to detach.
///
/// `open` makes the data path; it is called once the configuration is known to be valid, the
/// interfaces to be there, and no other daemon to listen. `ready` is called when packets are
/// balanced and requests are answered.
pub async fn run<D, N>(
    options: &Options,
    mut network: N,
    open: impl FnOnce(&Config) -> Result<D, DataPlaneError>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(&Config),
) -> Result<(), DaemonError>
where
    D: DataPlane,
    N: Network,
{
    let file = ConfigFile::read(&options.config)?;
    let name = file.path().display().to_string();
    let config = Config::parse(file.text(), &name, &options.overrides)?;
    let socket = config.settings.socket.clone();
    // Whoever connects from now on waits for the answer until packets are balanced.
    let (listener, name_of_socket) = listen(&socket)?;
    let view = network.view().await?;
    for interface in &config.interfaces {
        control::require_link(&view, interface)?;
    }
    network.follow(servers(&config));
    network.resolved(servers(&config)).await;
    let view = network.view().await?;
    let mut plane = open(&config).map_err(DaemonError::DataPlane)?;
    let sweeper = plane.sweeper().map_err(DaemonError::DataPlane)?;
    let overrides = options.overrides.clone();
    let mut control = Control::start(plane, file, overrides, config, view)?;
    let (_sweeping, swept) =
        Sweeping::start(sweeper, control.counted.clone()).map_err(DaemonError::Thread)?;
    // From the first answer on, flows are counted; whether that went well is told elsewhere.
    let _ = swept.await;

    let failed = |source| DaemonError::Socket { path: socket.clone(), source };
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let (requests, mut asked) = mpsc::channel(16);
    let (farewell, leave) = tokio::sync::oneshot::channel::<()>();
    let app = server::router(requests);
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        // Sent or dropped: either means to leave.
        let _ = leave.await;
    });
    let serving = tokio::spawn(serving.into_future());
    ready(&control.config);

    tokio::pin!(stop);
    let mut orders = Orders::default();
    let mut look_again = None;
    let mut upkeep = tokio::time::interval_at(Instant::now() + UPKEEP, UPKEEP);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(request) = asked.recv() => {
                if handle(&mut control, &mut network, &mut orders, request) {
                    break;
                }
            }
            Some(order) = orders.next() => {
                orders.carry_out(&mut control, &mut network, order).await;
            }
            _ = upkeep.tick() => tokio::task::block_in_place(|| control.keep_up()),
            () = news(&mut network, look_again) => match network.view().await {
                // May attach to an interface that came back, which takes its time.
                Ok(view) => {
                    look_again = None;
                    tokio::task::block_in_place(|| control.set_view(view));
                }
                Err(error) => {
                    look_again = Some(Instant::now() + LOOK_AGAIN);
                    tracing::error!(error = chain(&error), "cannot look at the network now");
                }
            },
        }
    }
    // Whoever comes now finds no daemon; whoever was answered gets the answer.
    drop(name_of_socket);
    drop(asked);
    let _ = farewell.send(());
    let _ = tokio::time::timeout(FAREWELL, serving).await;
    Ok(())
}

/// Until the network has changed, or until it is time to look again after a look that failed.
async fn news<N: Network>(network: &mut N, look_again: Option<Instant>) {
    match look_again {
        Some(when) => tokio::time::sleep_until(when).await,
        None => network.changed().await,
    }
}

/// Answers what is asked, and takes what is ordered. Whether the daemon has to end.
fn handle<D: DataPlane, N: Network>(
    control: &mut Control<D>,
    network: &mut N,
    orders: &mut Orders,
    request: Request,
) -> bool {
    match request {
        Request::State(reply) => answer(reply, control.state()),
        Request::Stats(reply) => answer(reply, control.stats()),
        Request::Plan(text, reply) => {
            let candidate = Order::Apply(text).candidate(control);
            answer(reply, changes(candidate.and_then(|candidate| control.plan(&candidate))));
        }
        Request::Order(order, reply) => orders.take(control, network, (order, reply)),
        Request::Detach(reply) => {
            let removed = control.remove();
            let ends = removed.is_ok();
            answer(reply, removed.map(|()| Changes::default()));
            return ends;
        }
    }
    false
}

fn changes(lines: Result<Vec<Line>, DaemonError>) -> Result<Changes, DaemonError> {
    lines.map(|changes| Changes { changes })
}

fn answer<T>(reply: Reply<T>, answer: Result<T, DaemonError>) {
    // Whoever asked may have gone.
    let _ = reply.send(answer);
}

/// An error and all of its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
