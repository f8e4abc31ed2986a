//! The real server's unwrapping program.

use std::{
    collections::BTreeSet,
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aya::{
    EbpfLoader,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray},
};
use lb_common::{Address, Reason, table::Vip};

use super::{
    BpfError, Loaded, Mode, layout,
    link::{self, LinkPin},
    object, pin,
};
use crate::realserver::{UnwrapError, Unwrapper, Unwrapping};

/// Where pins go: a folder per network namespace and interface, with this prefix.
const PIN_PREFIX: &str = "/sys/fs/bpf/tunlb-realserver";

/// Unwraps IPIP on interfaces of the current network namespace, pinned so that it outlives the
/// command.
#[derive(Clone, Copy, Debug, Default)]
pub struct XdpUnwrapper;

impl XdpUnwrapper {
    /// Where the program is pinned for an interface of the current network namespace, if it is.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn pin_directory(interface: &str) -> Result<PathBuf, BpfError> {
        directory(interface)
    }
}

impl Unwrapper for XdpUnwrapper {
    fn attach(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
        generic: bool,
    ) -> Result<(), UnwrapError> {
        Ok(attach(interface, vips, if generic { Mode::Generic } else { Mode::Native })?)
    }

    fn status(&self, interface: &str) -> Result<Option<Unwrapping>, UnwrapError> {
        let directory = directory(interface)?;
        let Some(pin) = LinkPin::live(&directory)?.pop() else {
            return Ok(None);
        };
        Ok(Some(Unwrapping { vips: vips(&directory)?, generic: pin.mode == Mode::Generic }))
    }

    fn detach(&self, interface: &str) -> Result<(), UnwrapError> {
        let directory = directory(interface)?;
        link::remove_all(&directory)?;
        Ok(remove_maps(&directory)?)
    }
}

/// The pin folder of an interface of the current network namespace.
fn directory(interface: &str) -> Result<PathBuf, BpfError> {
    let namespace = Path::new("/proc/thread-self/ns/net");
    let inode = fs::metadata(namespace)
        .map_err(|source| BpfError::Io { path: namespace.into(), source })?
        .ino();
    // bpffs refuses a dot in names.
    let path = PathBuf::from(format!("{PIN_PREFIX}-{inode}-{}", interface.replace('.', "%")));
    Ok(pin::visible(&path))
}

fn attach(interface: &str, vips: &BTreeSet<Ipv4Addr>, mode: Mode) -> Result<(), BpfError> {
    let index = nix::net::if_::if_nametoindex(interface).map_err(|errno| BpfError::Attach {
        interface: interface.into(),
        mode,
        hint: "there is no such interface",
        source: Box::new(errno),
    })?;
    let directory = directory(interface)?;
    pin::prepare(&directory)?;
    // The program has no table of interfaces.
    let pin = LinkPin { mode, index, slot: 0, interface: interface.into() };
    let attached = LinkPin::settle(&directory)?;
    let result = attach_at(&directory, &pin, vips);
    if result.is_err() && attached.is_empty() {
        // Nothing was attached before, so nothing may be left behind.
        remove_maps(&directory)?;
    }
    result
}

fn attach_at(directory: &Path, pin: &LinkPin, vips: &BTreeSet<Ipv4Addr>) -> Result<(), BpfError> {
    let ends = host_addresses(vips)?;
    let mut program = load(directory)?;
    fill(directory, &ends, vips)?;
    link::attach_alone(&mut program, directory, pin, LinkPin::settle(directory)?)?;
    Ok(())
}

fn remove_maps(directory: &Path) -> Result<(), BpfError> {
    for layout in &layout::REALSERVER {
        pin::remove(&directory.join(layout.name))?;
    }
    pin::remove_directory(directory)
}

/// The addresses at which tunnels can end: all of this host's but the VIPs and loopback.
fn host_addresses(vips: &BTreeSet<Ipv4Addr>) -> Result<BTreeSet<Ipv4Addr>, BpfError> {
    let addresses = nix::ifaddrs::getifaddrs().map_err(|errno| BpfError::Io {
        path: "the list of this host's addresses".into(),
        source: io::Error::from(errno),
    })?;
    let addresses =
        addresses.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    Ok(addresses.filter(|address| !address.is_loopback() && !vips.contains(address)).collect())
}

type VipMap = HashMap<MapData, [u64; size_of::<Address>() / 8], u32>;

fn failed(source: MapError) -> BpfError {
    BpfError::Map { name: "VIPS".into(), source }
}

fn open_vips(directory: &Path) -> Result<VipMap, BpfError> {
    let data = MapData::from_pin(directory.join("VIPS")).map_err(failed)?;
    Map::HashMap(data).try_into().map_err(failed)
}

/// The VIPs that the program in this pin folder unwraps for.
fn vips(directory: &Path) -> Result<BTreeSet<Ipv4Addr>, BpfError> {
    let mut vips = BTreeSet::new();
    for entry in &open_vips(directory)? {
        let (words, vip) = entry.map_err(failed)?;
        let address: Address = zerocopy::transmute!(words);
        if Vip(vip) == Vip::SERVED {
            vips.insert(Ipv4Addr::from(address.v4_octets()));
        }
    }
    Ok(vips)
}

/// Loads the program with its maps pinned in this folder.
fn load(directory: &Path) -> Result<Loaded, BpfError> {
    let pinned = pin::names(directory)?;
    for layout in &layout::REALSERVER {
        if pinned.iter().any(|name| name == layout.name) {
            layout::check(directory, layout)?;
        }
    }
    object::REALSERVER.program(EbpfLoader::new().default_map_pin_directory(directory))
}

/// Makes the program unwrap what comes to `ends` for `vips`, and nothing else.
fn fill(
    directory: &Path,
    ends: &BTreeSet<Ipv4Addr>,
    vips: &BTreeSet<Ipv4Addr>,
) -> Result<(), BpfError> {
    let words = |address: &Ipv4Addr| -> [u64; size_of::<Address>() / 8] {
        zerocopy::transmute!(Address::from(*address))
    };
    let ends = ends.iter().map(|address| (words(address), Vip::TUNNEL_END));
    let served = vips.iter().map(|address| (words(address), Vip::SERVED));
    let wanted: Vec<_> = ends.chain(served).collect();
    let mut map = open_vips(directory)?;
    let present: Vec<_> = map.keys().collect::<Result<_, _>>().map_err(failed)?;
    for key in present.iter().filter(|key| !wanted.iter().any(|(wanted, _)| wanted == *key)) {
        map.remove(key).map_err(failed)?;
    }
    for (key, vip) in wanted {
        map.insert(key, vip.0, 0).map_err(failed)?;
    }
    Ok(())
}

/// The unwrapping program for test runs, with pins of its own that go with it.
pub struct UnwrapProgram {
    directory: PathBuf,
    /// The program.
    pub program: Loaded,
}

impl UnwrapProgram {
    /// Loads the program with its maps pinned in this folder.
    ///
    /// # Errors
    /// When not privileged, or when the kernel refuses.
    pub fn load(
        directory: &Path,
        ends: &BTreeSet<Ipv4Addr>,
        vips: &BTreeSet<Ipv4Addr>,
    ) -> Result<Self, BpfError> {
        pin::prepare(directory)?;
        let program = load(directory)?;
        fill(directory, ends, vips)?;
        Ok(Self { directory: directory.into(), program })
    }

    /// How often each reason was counted, over all CPUs, indexed by the reason.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn reasons(&self) -> Result<Vec<u64>, BpfError> {
        let failed = |source| BpfError::Map { name: "REASONS".into(), source };
        let data = MapData::from_pin(self.directory.join("REASONS")).map_err(failed)?;
        let map: PerCpuArray<_, u64> = Map::PerCpuArray(data).try_into().map_err(failed)?;
        let sum = |reason: &Reason| Ok(map.get(&(*reason as u32), 0)?.iter().sum());
        Reason::ALL.iter().map(sum).collect::<Result<_, _>>().map_err(failed)
    }
}

impl Drop for UnwrapProgram {
    fn drop(&mut self) {
        if let Err(error) = remove_maps(&self.directory) {
            tracing::warn!(%error, "pins are left behind");
        }
    }
}
