//! The flow table for whoever goes through it from time to time, beside [`MapStore`] and in a thread
//! of its own.
//!
//! [`MapStore`]: super::MapStore

use std::sync::Arc;

use crate::{census::Census, sys::SharedWords};

/// The director's flow words.
pub struct Sweeper {
    flows: Arc<SharedWords>,
    real_servers: u32,
}

impl Sweeper {
    pub(super) fn new(flows: Arc<SharedWords>, real_servers: u32) -> Self {
        Self { flows, real_servers }
    }

    /// Removes every flow whose time is over at `now` (ticks of the data path's clock), and counts the
    /// others.
    pub fn sweep(&self, now: u64) -> Census {
        let mut census = Census::new(self.real_servers);
        census.take(self.flows.words(), now);
        census
    }
}
