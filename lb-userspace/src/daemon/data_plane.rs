//! The data path as the daemon sees it: tables, and interfaces that the program is attached to.

use lb_common::MacAddress;

use crate::{config::Mode, store::Store};

/// Why the data path did not do as it was told.
pub type DataPlaneError = Box<dyn std::error::Error + Send + Sync>;

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// How the program is attached.
    pub mode: Mode,
}

/// The data path. It goes on when this value is dropped.
pub trait DataPlane: Send {
    /// Its tables.
    fn store(&mut self) -> &mut dyn Store;

    /// Where the program is attached.
    fn attachments(&self) -> Result<Vec<Attachment>, DataPlaneError>;

    /// Attaches the program, or takes over the one that is attached. `slot` is the interface's
    /// place in the table of interfaces. Whether it was taken over.
    fn attach(
        &mut self,
        attachment: &Attachment,
        mac: MacAddress,
        slot: u32,
    ) -> Result<bool, DataPlaneError>;

    /// Detaches the program from an interface.
    fn detach(&mut self, interface: &str) -> Result<(), DataPlaneError>;

    /// Removes everything: programs, tables, flows.
    fn remove(&mut self) -> Result<(), DataPlaneError>;
}
