//! What every pinned map must look like before it is reused. aya reuses them unchecked.

use std::path::Path;

use aya::maps::{MapInfo, MapType};
use lb_common::{
    Address,
    flow::{FlowKey, WAYS},
    table::{
        Front, Limiter, REASONS, RateLimit, RealServer, ServerCounters, Service, ServiceKey,
        Settings, Vip,
    },
};

use super::BpfError;
use crate::store::Capacity;

/// One map's shape.
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) kind: MapType,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) entries: u32,
}

/// Maps that earlier layouts had: `detach` removes them too.
pub(super) const FORMER: [&str; 2] = ["INTERFACES", "VIP_FILTER"];

/// The director's maps for tables of these sizes.
pub(super) fn director(capacity: &Capacity) -> Vec<Layout> {
    const INDEX: usize = size_of::<u32>();
    let array =
        |name, value, entries| Layout { name, kind: MapType::Array, key: INDEX, value, entries };
    let per_cpu = |name, value, entries| Layout {
        name,
        kind: MapType::PerCpuArray,
        key: INDEX,
        value,
        entries,
    };
    let hash =
        |name, key, value, entries| Layout { name, kind: MapType::Hash, key, value, entries };
    let Capacity { services, real_servers, lookup, vips, flows } = *capacity;
    vec![
        array("FLOWS", WAYS * size_of::<u64>(), flows / WAYS as u32),
        array("FLOW_KEYS", size_of::<FlowKey>(), flows),
        hash("SERVICE_INDEX", size_of::<ServiceKey>(), INDEX, services),
        array("SERVICES", size_of::<Service>(), services),
        array("LOOKUP", INDEX, lookup),
        array("REAL_SERVERS", size_of::<RealServer>(), real_servers),
        per_cpu("SERVER_COUNTERS", size_of::<ServerCounters>(), real_servers),
        per_cpu("REASONS", size_of::<u64>(), REASONS),
        per_cpu("LIMITS", size_of::<RateLimit>(), Limiter::COUNT),
        hash("VIPS", size_of::<Address>(), size_of::<Vip>(), vips),
        array("FRONT", size_of::<Front>(), 1),
        array("SETTINGS", size_of::<Settings>(), 1),
    ]
}

/// The real server's maps.
pub(super) const REALSERVER: [Layout; 2] = [
    Layout {
        name: "VIPS",
        kind: MapType::Hash,
        key: size_of::<Address>(),
        value: size_of::<Vip>(),
        entries: 1024,
    },
    Layout {
        name: "REASONS",
        kind: MapType::PerCpuArray,
        key: size_of::<u32>(),
        value: size_of::<u64>(),
        entries: REASONS,
    },
];

/// Compares a pinned map with what it must be.
pub(super) fn check(directory: &Path, layout: &Layout) -> Result<(), BpfError> {
    let path = directory.join(layout.name);
    let map = |source| BpfError::Map { name: layout.name.into(), source };
    let info = MapInfo::from_pin(&path).map_err(map)?;
    let kind = info.map_type().map_err(map)?;
    let found = (kind, info.key_size(), info.value_size(), info.max_entries());
    let wanted = (layout.kind, layout.key as u32, layout.value as u32, layout.entries);
    if found == wanted {
        return Ok(());
    }
    let describe = |(kind, key, value, entries): (MapType, u32, u32, u32)| {
        format!("type {kind:?}, keys of {key} bytes, values of {value} bytes, {entries} entries")
    };
    Err(BpfError::Layout { path, found: describe(found), wanted: describe(wanted) })
}
