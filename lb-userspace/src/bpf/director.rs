//! The director's pinned maps and its programs, made or taken over.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{EbpfLoader, maps::MapData};
use lb_common::{
    MacAddress,
    flow::{HashSeed, WAYS},
    table::{INTERFACES, Interface, LAYOUT, Settings},
};
use zerocopy::IntoBytes;

use super::{
    BpfError, Loaded, Mode, Sweeper, layout,
    link::{self, LinkPin},
    lock::PinLock,
    maps::MapStore,
    object, pin,
};
use crate::store::{Capacity, Store};

/// How to open a director.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for pins, on a BPF file system.
    pub pin: PathBuf,
    /// Table sizes.
    pub capacity: Capacity,
    /// ICMP errors per second and CPU.
    pub icmp_limit: u32,
    /// Whether the program logs every outcome through aya-log.
    pub debug: bool,
}

/// The director's data path; nobody else can open the same while this value is there.
pub struct Director {
    _lock: PinLock,
    options: Options,
    settings: Settings,
    store: MapStore,
    /// What prints the programs' logs, by slot.
    logs: BTreeMap<u32, LogTask>,
}

/// An interface that the director's program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// How XDP runs on it.
    pub mode: Mode,
}

impl From<LinkPin> for Attachment {
    fn from(pin: LinkPin) -> Self {
        let LinkPin { mode, index, slot: _, interface } = pin;
        Self { interface, index, mode }
    }
}

impl Director {
    /// Opens the maps pinned in a directory, or makes them. Attaches nothing.
    ///
    /// # Errors
    /// When not root, when the directory cannot hold pins or is another director's, or when what is pinned there was
    /// made with other sizes or by another version; nothing is changed then.
    pub fn open(options: &Options) -> Result<Self, BpfError> {
        let options = Options { pin: pin::visible(&options.pin), ..options.clone() };
        let directory = options.pin.as_path();
        if !nix::unistd::geteuid().is_root() {
            return Err(BpfError::NotRoot);
        }
        let lock = loop {
            pin::prepare(directory)?;
            if let Some(lock) = PinLock::take(directory)? {
                break lock;
            }
        };
        let pinned = pin::names(directory)?;
        let opened = Self::open_locked(options.clone(), lock, &pinned);
        if opened.is_err() && pinned.is_empty() {
            // What failed is the error to report.
            let _ = Self::remove(directory);
        }
        opened
    }

    fn open_locked(options: Options, lock: PinLock, pinned: &[String]) -> Result<Self, BpfError> {
        let directory = options.pin.as_path();
        let layouts = layout::director(&options.capacity);
        for layout in layouts.iter().filter(|layout| pinned.iter().any(|name| name == layout.name))
        {
            layout::check(directory, layout)?;
        }
        let flow_sets = options.capacity.flows / WAYS as u32;
        let settings = match existing_settings(directory, pinned)? {
            Some(settings) => settings,
            None => Settings { layout: LAYOUT, flow_sets, seed: random_seed()? },
        };
        let store = Self::create(&options, &settings)?;
        let director = Self { _lock: lock, store, options, settings, logs: BTreeMap::new() };
        // Made or found: every map is what this program was built for.
        for layout in &layouts {
            layout::check(&director.options.pin, layout)?;
        }
        Ok(director)
    }

    /// Creates the maps that are not pinned yet and opens all of them.
    fn create(options: &Options, settings: &Settings) -> Result<MapStore, BpfError> {
        let layouts = layout::director(&options.capacity);
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(&options.pin);
        for layout in &layouts {
            loader.map_max_entries(layout.name, layout.entries);
        }
        drop(object::DIRECTOR.load(&mut loader)?);
        write_settings(&options.pin, settings)?;
        MapStore::open(&options.pin, options.capacity, settings.seed)
    }

    /// Loads a program for the interface in this slot.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load(&self, slot: u32) -> Result<Loaded, BpfError> {
        let Settings { layout: _, flow_sets, seed: HashSeed([seed_0, seed_1, seed_2, seed_3]) } =
            self.settings;
        let set_mask = flow_sets - 1;
        let jiffy = super::jiffy()?;
        // aya-log's levels: 0 is off, 4 is debug.
        let log_level: u8 = if self.options.debug { 4 } else { 0 };
        let mut loader = EbpfLoader::new();
        loader
            .default_map_pin_directory(&self.options.pin)
            .override_global("SEED_0", &seed_0, true)
            .override_global("SEED_1", &seed_1, true)
            .override_global("SEED_2", &seed_2, true)
            .override_global("SEED_3", &seed_3, true)
            .override_global("SET_MASK", &set_mask, true)
            .override_global("ICMP_LIMIT", &self.options.icmp_limit, true)
            .override_global("JIFFY", &jiffy, true)
            .override_global("INTERFACE_SLOT", &slot, true)
            .override_global("AYA_LOG_LEVEL", &log_level, true);
        object::DIRECTOR.program(&mut loader)
    }

    /// Attaches the program to an interface, or replaces the program that runs there already
    /// without losing a packet. Whether it was the latter.
    ///
    /// # Errors
    /// When there are too many interfaces, or the kernel refuses; what was attached before still
    /// is then.
    pub fn attach(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<bool, BpfError> {
        let Attachment { interface, index, mode } = attachment;
        let directory = self.options.pin.clone();
        let pinned = LinkPin::settle(&directory)?;
        let Some(pin) = LinkPin::assign(&pinned, interface, *index, *mode, INTERFACES as u32)
        else {
            return Err(BpfError::Attach {
                interface: interface.clone(),
                mode: *mode,
                hint: "a director takes at most 64 interfaces",
                source: std::io::Error::from(std::io::ErrorKind::InvalidInput).into(),
            });
        };
        self.store.set_interface(pin.slot, Interface::new(mac));
        // Before anything is detached: loading takes the longest and fails the likeliest.
        let mut program = self.load(pin.slot)?;
        let adopted = link::attach_alone(&mut program, &directory, &pin, pinned)?;
        if self.options.debug {
            self.logs.remove(&pin.slot);
            self.logs.extend(log_from(&mut program).map(|task| (pin.slot, task)));
        }
        Ok(adopted)
    }

    /// Writes the MAC address that an attached interface has from now on.
    ///
    /// # Errors
    /// When the pin directory cannot be read.
    pub fn set_mac(&mut self, attachment: &Attachment, mac: MacAddress) -> Result<(), BpfError> {
        let pinned = LinkPin::live(&self.options.pin)?;
        for pin in pinned.into_iter().filter(|pin| Attachment::from(pin.clone()) == *attachment) {
            self.store.set_interface(pin.slot, Interface::new(mac));
        }
        Ok(())
    }

    /// Where the program is attached, whatever was detached or renamed behind our back.
    ///
    /// # Errors
    /// When the pin directory cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, BpfError> {
        Ok(LinkPin::live(&self.options.pin)?.into_iter().map(Attachment::from).collect())
    }

    /// Detaches the program from an interface; none of its packets are balanced any more.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), BpfError> {
        for pin in LinkPin::settle(&self.options.pin)? {
            if pin.interface == interface {
                pin.remove(&self.options.pin)?;
                self.logs.remove(&pin.slot);
            }
        }
        Ok(())
    }

    /// The tables.
    pub fn store(&mut self) -> &mut MapStore {
        &mut self.store
    }

    /// The flow table, for a thread of its own.
    pub fn sweeper(&self) -> Sweeper {
        self.store.sweeper()
    }

    /// Removes everything that is pinned: programs, flows, counters.
    ///
    /// # Errors
    /// When a pin cannot be removed, or the directory holds something else besides.
    pub fn remove_all(&mut self) -> Result<(), BpfError> {
        remove_pins(&self.options.pin)
    }

    /// Removes everything that a director that runs no more has pinned in a directory. Whether
    /// there was anything.
    ///
    /// # Errors
    /// As [`Director::remove_all`], and when a director uses the directory.
    pub fn remove(directory: &Path) -> Result<bool, BpfError> {
        let directory = &pin::visible(directory);
        let Some(_lock) = PinLock::take(directory)? else { return Ok(false) };
        let any = !pin::names(directory)?.is_empty();
        remove_pins(directory)?;
        Ok(any)
    }
}

fn remove_pins(directory: &Path) -> Result<(), BpfError> {
    link::remove_all(directory)?;
    let any_size = Capacity { services: 0, real_servers: 0, lookup: 0, vips: 0, flows: 0 };
    for layout in layout::director(&any_size) {
        pin::remove(&directory.join(layout.name))?;
    }
    for name in layout::FORMER {
        pin::remove(&directory.join(name))?;
    }
    let names = pin::names(directory)?;
    if !names.is_empty() {
        return Err(BpfError::Unknown { directory: directory.into(), names: names.join(", ") });
    }
    pin::remove_directory(directory)
}

type SettingsMap<T> = aya::maps::Array<T, [u8; size_of::<Settings>()]>;

const SETTINGS: &str = "SETTINGS";

fn open_settings(directory: &Path) -> Result<SettingsMap<MapData>, BpfError> {
    let map = |source| BpfError::Map { name: SETTINGS.into(), source };
    let data = MapData::from_pin(directory.join(SETTINGS)).map_err(map)?;
    aya::maps::Map::Array(data).try_into().map_err(map)
}

/// The settings of pinned maps, if there are any.
fn existing_settings(directory: &Path, pinned: &[String]) -> Result<Option<Settings>, BpfError> {
    if !pinned.iter().any(|name| name == SETTINGS) {
        return Ok(None);
    }
    let bytes = open_settings(directory)?
        .get(&0, 0)
        .map_err(|source| BpfError::Map { name: SETTINGS.into(), source })?;
    let settings: Settings = zerocopy::transmute!(bytes);
    match settings.layout {
        // Created but never written: the daemon died in between.
        0 => Ok(None),
        LAYOUT => Ok(Some(settings)),
        other => Err(BpfError::Layout {
            path: directory.join(SETTINGS),
            found: format!("layout {other}"),
            wanted: format!("layout {LAYOUT}"),
        }),
    }
}

fn write_settings(directory: &Path, settings: &Settings) -> Result<(), BpfError> {
    let mut bytes = [0; size_of::<Settings>()];
    bytes.copy_from_slice(settings.as_bytes());
    open_settings(directory)?
        .set(0, bytes, 0)
        .map_err(|source| BpfError::Map { name: SETTINGS.into(), source })
}

fn random_seed() -> Result<HashSeed, BpfError> {
    let path = Path::new("/dev/urandom");
    let mut seed = HashSeed([0; 4]);
    File::open(path)
        .and_then(|mut file| file.read_exact(seed.as_mut_bytes()))
        .map_err(|source| BpfError::Io { path: path.into(), source })?;
    Ok(seed)
}

/// How often the program's log is read.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// A task that prints what a program logs, until this is dropped.
struct LogTask(tokio::task::JoinHandle<()>);

impl Drop for LogTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Prints what the program logs.
fn log_from(program: &mut Loaded) -> Option<LogTask> {
    let mut logger = match aya_log::EbpfLogger::init(&mut program.ebpf) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "cannot read the program's log");
            return None;
        }
    };
    Some(LogTask(tokio::spawn(async move {
        loop {
            logger.flush();
            tokio::time::sleep(LOG_INTERVAL).await;
        }
    })))
}
