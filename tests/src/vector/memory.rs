//! The pipeline over ordinary memory.

use anyhow::Result;
use lb_common::{
    director,
    flow::WAYS,
    memory::{MemoryPacket, MemoryTables, SEED},
    table::{RealServer, Service},
    unwrap,
};

use super::{
    engine::{Counts, Engine, Outcome},
    fixture::{CAPACITY, Fixture, INTERFACE},
};

/// The pipeline over ordinary memory.
#[derive(Debug)]
pub struct MemoryEngine {
    tables: MemoryTables,
    real_server: bool,
}

impl Engine for MemoryEngine {
    const NAME: &'static str = "memory";
    const HAS_CLOCK: bool = true;
    const TELLS_REDIRECTS: bool = true;

    fn new(fixture: &Fixture) -> Result<Self> {
        let mut tables = MemoryTables::new(CAPACITY.flows / WAYS as u32, SEED, fixture.limit);
        tables.services = vec![Service::default(); CAPACITY.services as usize];
        tables.real_servers = vec![RealServer::default(); CAPACITY.real_servers as usize];
        tables.lookup = vec![0; CAPACITY.lookup as usize];
        Ok(Self { tables, real_server: fixture.is_real_server() })
    }

    fn apply(&mut self, fixture: &Fixture) -> Result<()> {
        fixture.write(&mut self.tables, 0)
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
        Ok(Outcome { action: verdict.action(), frame: packet.frame().to_vec() })
    }

    fn counts(&mut self) -> Result<Counts> {
        Counts::of(&self.tables)
    }
}
