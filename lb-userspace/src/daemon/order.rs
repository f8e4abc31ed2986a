//! Changes that were ordered, from the moment they are asked for until they are made: a new
//! server's next hop is awaited, and meanwhile the daemon goes on with everything else.

use std::{collections::BTreeSet, future::Future, net::Ipv4Addr, pin::Pin};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    Candidate, Control, DaemonError, DataPlane, Network, answer, changes, server::Reply, servers,
};
use crate::{
    api::{Changes, Text},
    config::Change,
    plan::Line,
};

/// What is to be made of the configuration.
pub(super) enum Order {
    /// What the file says, or this text.
    Apply(Option<Text>),
    /// The same with one change.
    Change(Change),
}

impl Order {
    /// The configuration as it would be, if the order were carried out now.
    pub(super) fn candidate<D: DataPlane>(
        &self,
        control: &Control<D>,
    ) -> Result<Candidate, DaemonError> {
        match self {
            Self::Apply(None) => control.reread(),
            Self::Apply(Some(Text { name, text })) => control.replacement(text.clone(), name),
            Self::Change(change) => control.changed(change),
        }
    }
}

/// An order, and who waits for it to be carried out.
pub(super) type Ordered = (Order, Reply<Changes>);

/// The orders whose new servers' next hops are awaited. Whoever waits for one that is dropped is
/// told that the daemon is stopping.
#[derive(Default)]
pub(super) struct Orders {
    waiting: FuturesUnordered<Pin<Box<dyn Future<Output = Ordered> + Send>>>,
    /// Their servers, and those there are.
    followed: BTreeSet<Ipv4Addr>,
}

impl Orders {
    /// Refuses an order that could not be carried out, and begins to find the way to the servers
    /// of any other.
    pub(super) fn take<D: DataPlane, N: Network>(
        &mut self,
        control: &mut Control<D>,
        network: &mut N,
        (order, reply): Ordered,
    ) {
        let candidate = order.candidate(control);
        let planned = candidate.and_then(|candidate| {
            control.plan(&candidate)?;
            Ok(candidate.servers())
        });
        let wanted = match planned {
            Ok(wanted) => wanted,
            Err(error) => return answer(reply, Err(error)),
        };
        let present = servers(&control.config);
        self.followed.extend(present.union(&wanted));
        network.follow(self.followed.clone());
        let resolved = network.resolved(wanted.difference(&present).copied().collect());
        self.waiting.push(Box::pin(async move {
            resolved.await;
            (order, reply)
        }));
    }

    /// The next order that can be carried out; none when none waits. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Ordered> {
        self.waiting.next().await
    }

    /// Carries out an order.
    pub(super) async fn carry_out<D: DataPlane, N: Network>(
        &mut self,
        control: &mut Control<D>,
        network: &mut N,
        (order, reply): Ordered,
    ) {
        answer(reply, changes(apply(control, network, &order).await));
        if self.waiting.is_empty() {
            self.followed.clear();
            network.follow(servers(&control.config));
        }
    }
}

/// Made anew from the order: others may have been carried out since it was taken.
async fn apply<D: DataPlane, N: Network>(
    control: &mut Control<D>,
    network: &mut N,
    order: &Order,
) -> Result<Vec<Line>, DaemonError> {
    let view = network.view().await?;
    tokio::task::block_in_place(|| {
        control.set_view(view);
        let candidate = order.candidate(control)?;
        control.apply(candidate)
    })
}
