//! A program that passes every frame, for the far end of a veth whose near end transmits from XDP.

use std::path::Path;

use aya::{EbpfLoader, programs::XdpMode};

use super::{
    BpfError, Loaded, Mode,
    link::{self, LinkPin},
    object, pin,
};

/// Keeps the program attached for as long as it lives.
pub struct Pass {
    _program: Loaded,
}

/// Attaches a program that passes every frame to an interface of the current network namespace.
///
/// # Errors
/// When not privileged, or when there is no such interface or it has a program already.
pub fn attach_pass(interface: &str) -> Result<Pass, BpfError> {
    let mut program = object::PASS.program(&mut EbpfLoader::new())?;
    program.xdp()?.attach(interface, XdpMode::Driver).map_err(|source| BpfError::Attach {
        interface: interface.into(),
        mode: Mode::Native,
        hint: "the kernel refused",
        source: Box::new(source),
    })?;
    Ok(Pass { _program: program })
}

/// Attaches the same program, pinned in a directory of its own so that it outlives this process;
/// removing the directory detaches it.
///
/// # Errors
/// When not privileged, when there is no such interface or it has a program already, or when the
/// directory cannot hold pins.
pub fn pin_pass(interface: &str, index: u32, directory: &Path) -> Result<(), BpfError> {
    pin::prepare(directory)?;
    let mut program = object::PASS.program(&mut EbpfLoader::new())?;
    // The program has no table of interfaces.
    let pin = LinkPin { mode: Mode::Native, index, slot: 0, interface: interface.into() };
    link::attach(&mut program, directory, &pin).map(drop)
}
