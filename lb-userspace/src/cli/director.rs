//! `tunlb director` and `tunlb detach`.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{
    CliError,
    args::{DetachArgs, DirectorArgs},
    output::{self, Detached},
};
use crate::{
    api::{Changes, State},
    bpf,
    client::ClientError,
    config::{Config, DEFAULT_PIN, Overrides},
    daemon::{self, DaemonError, KernelDataPlane, KernelNetwork},
};

/// Runs the daemon until it is told to end.
pub(super) fn run(args: DirectorArgs) -> Result<(), CliError> {
    let DirectorArgs { config, interfaces, socket, pin, generic, debug } = args;
    if !nix::unistd::geteuid().is_root() {
        return Err(DaemonError::NotRoot.into());
    }
    let overrides = Overrides { interfaces, socket, pin, generic };
    let options = daemon::Options { config, overrides, debug };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One task does the work; another thread lets it wait without stopping the rest.
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping; the data path goes on until `tunlb detach`");
        };
        let network = KernelNetwork::connect().map_err(DaemonError::from)?;
        let open = |config: &Config| {
            let settings = &config.settings;
            KernelDataPlane::open(&bpf::Options {
                pin: settings.pin.clone(),
                capacity: settings.capacity,
                icmp_limit: settings.icmp_per_second,
                debug,
            })
        };
        daemon::run(&options, network, open, stop, ready).await?;
        Ok(())
    })
}

fn ready(config: &Config) {
    let settings = &config.settings;
    let table = crate::api::FlowTable::new(settings.capacity.flows);
    tracing::info!("flow table: {}", output::flow_table(&table));
    // Not a log line: those who start the director wait for it.
    eprintln!(
        "ready: {} in {} mode, {} services, socket {}",
        config.interfaces.join(", "),
        settings.mode,
        config.services.len(),
        settings.socket.display()
    );
}

/// Removes the data path, with the daemon's help if one runs.
pub(super) async fn detach(args: &DetachArgs) -> Result<(), CliError> {
    let DetachArgs { pin, request } = args;
    let client = request.client();
    match client.get::<State>("/v1/state").await {
        Ok(state) if pin.as_ref().is_none_or(|pin| *pin == state.pin) => {
            let _: Changes = client.request(hyper::Method::POST, "/v1/detach", None::<&()>).await?;
            return output::detached(&Detached { pin: &state.pin, removed: true }, request.json);
        }
        // Another director's, which has nothing to do with the pins that were named.
        Ok(_) | Err(ClientError::NoDaemon { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(bpf::BpfError::NotRoot.into());
    }
    let pin = pin.as_deref().unwrap_or(Path::new(DEFAULT_PIN));
    let removed = bpf::Director::remove(pin)?;
    output::detached(&Detached { pin, removed }, request.json)
}
