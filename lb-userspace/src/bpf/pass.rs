//! A program that passes every frame, for the far end of a veth whose near end transmits from XDP.

use aya::{EbpfLoader, programs::XdpMode};

use super::{BpfError, Loaded, Mode, object};

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
