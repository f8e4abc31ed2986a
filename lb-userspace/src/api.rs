//! What the daemon and its clients say to each other: JSON over HTTP on a unix socket.
//!
//! | method | path | body | answer |
//! |---|---|---|---|
//! | GET | `/v1/state` | | [`State`] |
//! | GET | `/v1/stats` | | [`Stats`] |
//! | POST | `/v1/services` | [`NewService`] | [`Changes`] |
//! | PATCH | `/v1/services/{service}` | [`ServicePatch`] | [`Changes`] |
//! | DELETE | `/v1/services/{service}` | | [`Changes`] |
//! | POST | `/v1/services/{service}/servers` | [`NewServer`] | [`Changes`] |
//! | PATCH | `/v1/services/{service}/servers/{server}` | [`ServerPatch`] | [`Changes`] |
//! | DELETE | `/v1/services/{service}/servers/{server}` | | [`Changes`] |
//! | POST | `/v1/plan` | [`Text`] or nothing | [`Changes`] |
//! | POST | `/v1/apply` | [`Text`] or nothing | [`Changes`] |
//! | POST | `/v1/detach` | | [`Changes`] |
//!
//! `GET /v1/plan` is the plan of the file as it stands on disk. Whatever fails answers [`Failure`].

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use lb_common::flow::FlowKey;
use serde::{Deserialize, Serialize};

use crate::{
    census::FlowCounts,
    config::{Mode, Scheduler, SchedulerFlag, SchedulerName, ServiceAddress, Weight},
    plan::{Line, Ownership},
};

/// What the director does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Its configuration.
    pub config: PathBuf,
    /// Where maps and links are pinned.
    pub pin: PathBuf,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The services.
    pub services: Vec<Service>,
    /// The flow table.
    pub flow_table: FlowTable,
}

/// An interface of the director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index, while it exists.
    pub index: Option<u32>,
    /// How the program is attached; `None` when it is not.
    pub mode: Option<Mode>,
    /// What keeps packets from coming in, if anything does.
    pub problem: Option<String>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What names it.
    pub address: ServiceAddress,
    /// How it chooses: `scheduler`, `scheduler_flags` and `table_size`.
    #[serde(flatten)]
    pub scheduler: Scheduler,
    /// Who answers for its VIP.
    pub vip: Ownership,
    /// Its servers, in the order of picks.
    pub servers: Vec<Server>,
}

/// A real server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its weight.
    pub weight: Weight,
    /// Its flows, as they were up to a second ago; `None` while they cannot be counted.
    pub flows: Option<FlowCounts>,
    /// How packets get there; `None` when they don't.
    pub next_hop: Option<NextHop>,
    /// Why there is no next hop.
    pub problem: Option<String>,
}

/// How packets for a real server leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The interface.
    pub interface: String,
    /// The Ethernet address that they are sent to.
    pub mac: String,
    /// The VLAN tag, if any.
    pub vlan: Option<u16>,
    /// The outer source address.
    pub source: IpAddr,
    /// The path's MTU in bytes.
    pub mtu: u32,
}

/// The flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTable {
    /// How many flows there is room for.
    pub flows: u32,
    /// How many there are, as they were up to a second ago; `None` while they cannot be counted.
    pub in_use: Option<u32>,
    /// What it takes, in bytes.
    pub bytes: u64,
}

impl FlowTable {
    /// A flow's word and its key.
    const FLOW_BYTES: u64 = (size_of::<u64>() + size_of::<FlowKey>()) as u64;

    /// The table for so many flows, not counted.
    pub const fn new(flows: u32) -> Self {
        Self { flows, in_use: None, bytes: flows as u64 * Self::FLOW_BYTES }
    }
}

/// What was counted since the maps were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Every reason, in the order of its number.
    pub reasons: Vec<ReasonCount>,
    /// The services.
    pub services: Vec<ServiceStats>,
}

/// How often a verdict was given for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// What it means.
    pub help: String,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Flows opened.
    pub flows: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes of the clients' IP packets.
    pub bytes: u64,
}

/// What was sent to a service's servers; those that were removed are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// The service.
    pub address: ServiceAddress,
    /// To all servers.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// To each server.
    pub servers: Vec<ServerStats>,
}

/// What was sent to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStats {
    /// The server.
    pub address: Ipv4Addr,
    /// What was sent.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// A new service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// What names it.
    pub address: ServiceAddress,
    /// How it chooses.
    #[serde(default)]
    pub scheduler: SchedulerName,
    /// The scheduler's flags.
    #[serde(default)]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// The size of the scheduler's table.
    #[serde(default)]
    pub table_size: Option<i64>,
}

/// A change of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePatch {
    /// How it chooses from now on.
    pub scheduler: SchedulerName,
    /// The scheduler's flags; those that are left out are gone.
    #[serde(default)]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// The size of the scheduler's table.
    #[serde(default)]
    pub table_size: Option<i64>,
}

/// A new server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewServer {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its weight.
    #[serde(default)]
    pub weight: Weight,
}

/// A change of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPatch {
    /// Its weight from now on.
    pub weight: Weight,
}

/// The text of a configuration that shall take the place of the daemon's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What errors call it.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What changes, or has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The changes; none when everything is as it shall be.
    pub changes: Vec<Line>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The object, what is wrong with it, and the remedy.
    pub error: String,
}
