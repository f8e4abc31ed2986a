//! The data path as the daemon sees it: tables, and interfaces that the program is attached to.

use lb_common::MacAddress;

pub use crate::bpf::Attachment;
use crate::{
    bpf::{Clock, Director},
    store::Store,
};

/// Why the data path did not do as it was told.
pub type DataPlaneError = Box<dyn std::error::Error + Send + Sync>;

/// The data path. It goes on when this value is dropped.
pub trait DataPlane: Send {
    /// Its tables.
    fn store(&mut self) -> &mut dyn Store;

    /// The time in ticks that flows are told by.
    fn now(&mut self) -> Result<u64, DataPlaneError>;

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

/// The data path in the kernel, pinned in a directory.
pub struct KernelDataPlane {
    director: Director,
    clock: Clock,
}

impl KernelDataPlane {
    /// Opens or makes what is pinned where the options say.
    pub fn open(options: &crate::bpf::Options) -> Result<Self, DataPlaneError> {
        Ok(Self { director: Director::open(options)?, clock: Clock::open()? })
    }
}

impl DataPlane for KernelDataPlane {
    fn store(&mut self) -> &mut dyn Store {
        self.director.store()
    }

    fn now(&mut self) -> Result<u64, DataPlaneError> {
        Ok(self.clock.ticks()?)
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
