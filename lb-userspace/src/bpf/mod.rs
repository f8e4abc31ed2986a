//! The one module that talks to bpf(2): objects, pins, maps, programs, links.
//!
//! Not for: what the entries of the maps mean; that is `tables`' and lb-common's.

mod clock;
mod director;
mod entry;
mod error;
mod layout;
mod link;
mod lock;
mod maps;
mod object;
mod pass;
mod pin;
mod realserver;
mod sweeper;

pub use clock::{Clock, jiffy};
pub use director::{Attachment, Director, Options};
pub use error::BpfError;
pub use link::Mode;
pub use maps::MapStore;
pub use object::{Loaded, TestRun};
pub use pass::{Pass, attach_pass, pin_pass};
pub use realserver::{UnwrapProgram, XdpUnwrapper};
pub use sweeper::Sweeper;
