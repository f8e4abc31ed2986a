//! The real server's unwrapping program.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use aya::{
    EbpfLoader,
    maps::{HashMap, MapData, MapError},
};
use lb_common::{Address, table::Vip};

use super::{
    BpfError, Loaded, Mode,
    link::{self, LinkPin},
    object, pin,
};

/// The maps that the program pins.
const MAPS: [&str; 2] = ["VIPS", "REASONS"];

/// Unwraps IPIP on one interface, pinned in a directory so that it outlives the command.
pub struct XdpUnwrapper {
    pin: PathBuf,
}

impl XdpUnwrapper {
    /// The unwrapper whose pins are in this directory, made or not.
    pub fn new(pin: &Path) -> Self {
        Self { pin: pin.into() }
    }

    /// Attaches the program, or updates what it unwraps where it is attached already.
    ///
    /// # Errors
    /// When not privileged, or when the kernel refuses.
    pub fn attach(
        &self,
        interface: &str,
        index: u32,
        tunnel_ends: &[Ipv4Addr],
        vips: &[Ipv4Addr],
        mode: Mode,
    ) -> Result<(), BpfError> {
        pin::prepare(&self.pin)?;
        let mut program = load(&self.pin, tunnel_ends, vips)?;
        let pin = LinkPin { mode, index, interface: interface.into() };
        link::attach(&mut program, &self.pin, &pin)?;
        Ok(())
    }

    /// Where the program is attached: interface and mode.
    ///
    /// # Errors
    /// When the pin directory cannot be read.
    pub fn attached(&self) -> Result<Vec<(String, Mode)>, BpfError> {
        let pins = LinkPin::list(&self.pin)?;
        Ok(pins.into_iter().map(|pin| (pin.interface, pin.mode)).collect())
    }

    /// The VIPs that the program unwraps for; none when it is not attached.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn vips(&self) -> Result<Vec<Ipv4Addr>, BpfError> {
        let path = self.pin.join("VIPS");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let failed = |source| BpfError::Map { name: "VIPS".into(), source };
        let map = open_vips(MapData::from_pin(path).map_err(failed)?)?;
        let mut vips = Vec::new();
        for entry in &map {
            let (address, vip) = entry.map_err(failed)?;
            if Vip(vip) == Vip::SERVED {
                vips.push(Ipv4Addr::from(words_address(address).v4_octets()));
            }
        }
        vips.sort();
        Ok(vips)
    }

    /// Detaches the program and removes its pins.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(&self) -> Result<(), BpfError> {
        for link in LinkPin::list(&self.pin)? {
            pin::remove(&link.path(&self.pin))?;
        }
        for name in MAPS {
            pin::remove(&self.pin.join(name))?;
        }
        pin::remove_directory(&self.pin)
    }
}

type VipMap = HashMap<MapData, [u64; size_of::<Address>() / 8], u32>;

fn open_vips(data: MapData) -> Result<VipMap, BpfError> {
    aya::maps::Map::HashMap(data)
        .try_into()
        .map_err(|source| BpfError::Map { name: "VIPS".into(), source })
}

/// Loads the program with its maps pinned, and fills in what it unwraps.
fn load(pin: &Path, tunnel_ends: &[Ipv4Addr], vips: &[Ipv4Addr]) -> Result<Loaded, BpfError> {
    let program = object::REALSERVER.program(EbpfLoader::new().default_map_pin_directory(pin))?;
    let failed = |source: MapError| BpfError::Map { name: "VIPS".into(), source };
    let mut map = open_vips(MapData::from_pin(pin.join("VIPS")).map_err(failed)?)?;
    let ends = tunnel_ends.iter().map(|address| (address, Vip::TUNNEL_END));
    let served = vips.iter().map(|address| (address, Vip::SERVED));
    let wanted: Vec<_> =
        ends.chain(served).map(|(address, vip)| (address_words(*address), vip)).collect();
    let present: Vec<_> = map.keys().collect::<Result<_, _>>().map_err(failed)?;
    for address in present.iter().filter(|key| !wanted.iter().any(|(wanted, _)| wanted == *key)) {
        map.remove(address).map_err(failed)?;
    }
    for (address, vip) in wanted {
        map.insert(address, vip.0, 0).map_err(failed)?;
    }
    Ok(program)
}

/// Loads the program for test runs, with its maps pinned in this directory.
///
/// # Errors
/// When not privileged, or when the kernel refuses.
pub fn test_program(
    pin: &Path,
    tunnel_ends: &[Ipv4Addr],
    vips: &[Ipv4Addr],
) -> Result<Loaded, BpfError> {
    pin::prepare(pin)?;
    load(pin, tunnel_ends, vips)
}

fn address_words(address: Ipv4Addr) -> [u64; size_of::<Address>() / 8] {
    zerocopy::transmute!(Address::from(address))
}

fn words_address(words: [u64; size_of::<Address>() / 8]) -> Address {
    zerocopy::transmute!(words)
}
