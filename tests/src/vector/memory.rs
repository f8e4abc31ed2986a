//! The pipeline over ordinary memory.

use anyhow::Result;
use lb_common::{
    Reason, director,
    flow::HashSeed,
    memory::{MemoryPacket, MemoryTables},
    unwrap,
};

use super::{
    engine::{Counts, Engine, Outcome},
    fixture::{Fixture, INTERFACE},
};

/// Any seed does: no vector depends on where a flow is kept.
pub(super) const SEED: HashSeed =
    HashSeed([0x6A09_E667_F3BC_C908, 0xBB67_AE85_84CA_A73B, 0x3C6E_F372_FE94_F82B, 0xA54F_F53A]);
/// Enough that no vector's flows crowd each other out.
pub(super) const FLOW_SETS: u32 = 64;

/// The pipeline over ordinary memory.
#[derive(Debug)]
pub struct MemoryEngine {
    tables: MemoryTables,
    servers: u32,
    real_server: bool,
}

impl Engine for MemoryEngine {
    const NAME: &'static str = "memory";
    const HAS_CLOCK: bool = true;

    fn new(fixture: &Fixture) -> Result<Self> {
        let tables = MemoryTables::new(FLOW_SETS, SEED, fixture.limit);
        Ok(Self { tables, servers: 0, real_server: fixture.is_real_server() })
    }

    fn apply(&mut self, fixture: &Fixture) -> Result<()> {
        let (services, lookup, real_servers) = fixture.entries();
        let Self { tables, servers, real_server } = self;
        *real_server = fixture.is_real_server();
        *servers = (real_servers.len() as u32).max(*servers);
        let keys = services.iter().enumerate();
        tables.service_indices = keys.map(|(index, s)| (s.key, index as u32)).collect();
        tables.interface = fixture.interface();
        tables.vips = fixture.vips().into_iter().collect();
        tables.vip_filter = fixture.vip_filter();
        (tables.services, tables.lookup, tables.real_servers) = (services, lookup, real_servers);
        Ok(())
    }

    fn set_now(&mut self, now: u64) {
        self.tables.now = now;
    }

    fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let mut packet = MemoryPacket::new(frame, INTERFACE);
        let verdict = if self.real_server {
            unwrap(&mut packet, &&self.tables)
        } else {
            director(&mut packet, &&self.tables)
        };
        Ok(Outcome { action: verdict.action, frame: packet.frame().to_vec() })
    }

    fn counts(&self) -> Result<Counts> {
        Ok(Counts {
            reasons: Reason::ALL.iter().map(|&reason| self.tables.counted(reason)).collect(),
            servers: (0..self.servers).map(|index| self.tables.counters(index)).collect(),
        })
    }
}
