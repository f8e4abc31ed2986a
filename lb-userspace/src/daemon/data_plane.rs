//! The data path as the daemon sees it: tables, and interfaces that the program is attached to.

use lb_common::MacAddress;

pub use crate::bpf::Attachment;
use crate::{
    bpf::{self, Clock, Director},
    census::Census,
    store::Store,
};

/// Why the data path did not do as it was told.
pub type DataPlaneError = Box<dyn std::error::Error + Send + Sync>;

/// The data path. It goes on when this value is dropped.
pub trait DataPlane: Send {
    /// Its tables.
    fn store(&mut self) -> &mut dyn Store;

    /// Its flow table, for a thread of its own.
    fn sweeper(&mut self) -> Result<Box<dyn Sweeper>, DataPlaneError>;

    /// Where the program is attached.
    fn attachments(&self) -> Result<Vec<Attachment>, DataPlaneError>;

    /// Attaches the program, or takes over the one that is attached. Whether it was taken over.
    fn attach(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<bool, DataPlaneError>;

    /// Writes the MAC address that an attached interface has from now on.
    fn set_mac(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<(), DataPlaneError>;

    /// Detaches the program from an interface.
    fn detach(&mut self, interface: &str) -> Result<(), DataPlaneError>;

    /// Removes everything: programs, tables, flows.
    fn remove(&mut self) -> Result<(), DataPlaneError>;
}

/// The flow table of a data path.
pub trait Sweeper: Send {
    /// Removes every flow whose time is over, and counts the others. A flow word has 16 bits of the
    /// clock, so one that nobody touches or removes for 19.5 hours would come to life again.
    fn sweep(&mut self) -> Result<Census, DataPlaneError>;
}

/// The data path in the kernel, pinned in a directory.
pub struct KernelDataPlane {
    director: Director,
}

/// The flow table in the kernel, and the clock that its times are told by.
struct KernelSweeper {
    flows: bpf::Sweeper,
    clock: Clock,
}

impl Sweeper for KernelSweeper {
    fn sweep(&mut self) -> Result<Census, DataPlaneError> {
        Ok(self.flows.sweep(self.clock.ticks()?))
    }
}

impl KernelDataPlane {
    /// Opens or makes what is pinned where the options say.
    pub fn open(options: &bpf::Options) -> Result<Self, DataPlaneError> {
        Ok(Self { director: Director::open(options)? })
    }
}

impl DataPlane for KernelDataPlane {
    fn store(&mut self) -> &mut dyn Store {
        self.director.store()
    }

    fn sweeper(&mut self) -> Result<Box<dyn Sweeper>, DataPlaneError> {
        Ok(Box::new(KernelSweeper { flows: self.director.sweeper(), clock: Clock::open()? }))
    }

    fn attachments(&self) -> Result<Vec<Attachment>, DataPlaneError> {
        Ok(self.director.attachments()?)
    }

    fn attach(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<bool, DataPlaneError> {
        Ok(self.director.attach(attachment, mac)?)
    }

    fn set_mac(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<(), DataPlaneError> {
        Ok(self.director.set_mac(attachment, mac)?)
    }

    fn detach(&mut self, interface: &str) -> Result<(), DataPlaneError> {
        Ok(self.director.detach(interface)?)
    }

    fn remove(&mut self) -> Result<(), DataPlaneError> {
        Ok(self.director.remove_all()?)
    }
}
