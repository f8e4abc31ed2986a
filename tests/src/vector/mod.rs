//! Packet vectors: files of {fixture, frame in, verdict and frame expected}, and their runner.
//!
//! The files are in `vectors/`; their README says where the expectations come from. An [`Engine`]
//! is one way to run the data path: in memory, or the committed object in the kernel.

mod agree;
mod engine;
mod fixture;
mod format;
mod frame;
mod kernel;
mod memory;
mod runner;

pub use agree::{Mutations, agree};
pub use engine::{Counts, Engine, Outcome};
pub use fixture::Fixture;
pub use format::{Case, Step, VectorFile, directory, load, names};
pub use frame::Frame;
pub use kernel::KernelEngine;
pub use memory::MemoryEngine;
pub use runner::run;
