//! A director with tables of its own for the rows that share them: services, real servers, flows.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, EbpfLoader, maps::MapData, programs::Xdp};
use lb_common::{
    Address, Be16, MacAddress, Reason,
    bench::Plan,
    flow::WAYS,
    table::{LookupTable, RealServer, Service, ServiceKey, Settings, Vip, VipFilter, Vlan},
};
use lb_userspace::{
    bpf::{Director, Options},
    store::{Capacity, Store as _},
};

use super::{
    frame::{Flows, INTERFACE, Kind, PORT, VIP, frame},
    measure::{XDP_REDIRECT, XDP_TX, run_packets},
};
use crate::repo::Repo;

/// What a scene has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Flow slots; as many entries has the textbook's table.
    pub(super) slots: u32,
    /// VIPs, each with a TCP and a UDP service.
    pub(super) vips: u32,
    /// Real servers of each service.
    pub(super) servers: u32,
    /// The interface's index.
    pub(super) interface: u32,
}

/// Loaded objects on tables of their own; the pins go with it.
pub(super) struct Scene {
    pins: PathBuf,
    layout: Layout,
    /// `None` only while the scene is dropped: what is open cannot be removed.
    director: Option<Director>,
    objects: [Ebpf; 2],
}

/// The two objects.
const OBJECTS: [&str; 2] = ["director.o", "bench.o"];

impl Scene {
    /// Makes the tables and loads the objects; no program yet.
    pub(super) fn new(repo: &Repo, name: &str, layout: Layout) -> Result<Self> {
        let pins = Path::new("/sys/fs/bpf").join(name);
        let Layout { slots, vips, servers, interface: _ } = layout;
        let entries = 2 * vips * servers;
        let capacity = Capacity {
            services: 2 * vips,
            real_servers: entries,
            lookup: entries,
            vips,
            flows: slots,
        };
        let options = Options { pin: pins.clone(), capacity, icmp_limit: 1000, debug: false };
        let made =
            Director::open(&options).map_err(anyhow::Error::from).and_then(|mut director| {
                fill(&mut director, layout)?;
                let objects =
                    [load(repo, OBJECTS[0], &pins, slots)?, load(repo, OBJECTS[1], &pins, slots)?];
                Ok((director, objects))
            });
        match made {
            Ok((director, objects)) => Ok(Self { pins, layout, director: Some(director), objects }),
            Err(error) => {
                Director::remove(&pins)?;
                Err(error)
            }
        }
    }

    /// A program of either object, loaded or not.
    pub(super) fn program_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.objects.iter_mut().find_map(|object| object.program_mut(name));
        Ok(program.with_context(|| format!("no program is called {name}"))?.try_into()?)
    }

    /// Loads a program of either object.
    pub(super) fn load(&mut self, name: &str) -> Result<()> {
        let program = self.program_mut(name)?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("the kernel refused the program {name}"))?;
        }
        Ok(())
    }

    /// A loaded program.
    pub(super) fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.objects.iter().find_map(|object| object.program(name));
        Ok(program.with_context(|| format!("no program is called {name}"))?.try_into()?)
    }

    /// Opens flows 0 to `count` - 1 by running `program` on their first packets.
    pub(super) fn open_flows(&mut self, program: &str, kind: Kind, count: u32) -> Result<()> {
        self.load(program)?;
        let first = if kind == Kind::Ack { Kind::Syn } else { kind };
        for kind in [first, kind] {
            let mut frame = frame(kind, Flows::Walk(count), self.layout.vips);
            let run = run_packets(self.program(program)?, &mut frame, count)?;
            if ![XDP_TX, XDP_REDIRECT].contains(&run.answer) {
                bail!("{program} answered {} to a flow's packet", run.answer);
            }
        }
        Ok(())
    }

    /// Opens new flows until practically no slot is empty.
    pub(super) fn fill_flows(&mut self, program: &str) -> Result<()> {
        self.load(program)?;
        let mut frame = frame(Kind::Syn, Flows::New, self.layout.vips);
        // Other flows than those that will be measured: somewhere else in the generator's sequence.
        frame[Plan::OFFSET] ^= 1;
        run_packets(self.program(program)?, &mut frame, 8 * self.layout.slots).map(drop)
    }

    /// Packets forwarded so far: of known flows, and of new ones.
    pub(super) fn forwarded(&mut self) -> Result<(u64, u64)> {
        let entries = 2 * self.layout.vips * self.layout.servers;
        let store = self.director.as_mut().context("the scene is gone")?.store();
        let mut packets = 0;
        for index in 0..entries {
            packets += store.counters(index)?.packets;
        }
        let new = store.reasons()?[Reason::Scheduled as usize];
        Ok((packets - new, new))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.director = None;
        if let Err(error) = Director::remove(&self.pins) {
            eprintln!("pins are left behind: {error}");
        }
    }
}

/// Loads an object with the pinned maps and the globals that the director's program gets.
fn load(repo: &Repo, object: &str, pins: &Path, slots: u32) -> Result<Ebpf> {
    let path = repo.objects().join(object);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let settings = settings(pins)?;
    let [seed_0, seed_1, seed_2, seed_3] = settings.seed.0;
    let set_mask = slots / WAYS as u32 - 1;
    let jiffy = lb_userspace::bpf::jiffy()?;
    EbpfLoader::new()
        .default_map_pin_directory(pins)
        .map_max_entries("LRU_FLOWS", slots)
        .override_global("SEED_0", &seed_0, true)
        .override_global("SEED_1", &seed_1, true)
        .override_global("SEED_2", &seed_2, true)
        .override_global("SEED_3", &seed_3, true)
        .override_global("SET_MASK", &set_mask, true)
        .override_global("JIFFY", &jiffy, true)
        .override_global("AYA_LOG_LEVEL", &0u8, false)
        .load(&bytes)
        .with_context(|| format!("cannot load {}", path.display()))
}

/// What the director has pinned about its tables.
fn settings(pins: &Path) -> Result<Settings> {
    let data = MapData::from_pin(pins.join("SETTINGS"))?;
    let map: aya::maps::Array<_, [u8; size_of::<Settings>()]> =
        aya::maps::Map::Array(data).try_into()?;
    Ok(zerocopy::transmute!(map.get(&0, 0)?))
}

/// Writes services, real servers and VIPs, without regard to packets: there are none yet.
fn fill(director: &mut Director, layout: Layout) -> Result<()> {
    let Layout { slots: _, vips, servers, interface } = layout;
    let store = director.store();
    let addresses: Vec<Address> =
        (0..vips).map(|vip| Address::from(Ipv4Addr::from_bits(VIP + vip))).collect();
    for (vip, address) in (0..).zip(&addresses) {
        for (protocol, number) in [(6, 2 * vip), (17, 2 * vip + 1)] {
            let key = ServiceKey::new(*address, Be16::new(PORT), protocol);
            let first = number * servers;
            for index in first..first + servers {
                let real_server = RealServer {
                    service: key,
                    next_hop: MacAddress([2, 0, 0, 1, (index >> 8) as u8, index as u8]),
                    vlan: Vlan::NONE,
                    source_mac: INTERFACE.mac(),
                    mtu: 1500,
                    interface,
                    service_index: number,
                    address: Ipv4Addr::from_bits(0x0A80_0000 + index).into(),
                    source: Ipv4Addr::new(192, 168, 19, 254).into(),
                    weight: 1,
                    ..RealServer::default()
                };
                store.set_real_server(index, &real_server);
            }
            let indices: Vec<u32> = (first..first + servers).collect();
            store.set_lookup(first, &indices);
            let service = Service {
                table: LookupTable::new(first, servers),
                key,
                scheduler: Service::ROUND_ROBIN,
                ..Service::default()
            };
            store.set_service(number, &service);
            store.insert_service_index(&key, number)?;
        }
        store.insert_vip(address, Vip::OWNED)?;
    }
    store.set_vip_filter(&VipFilter::of(addresses));
    store.set_interface(0, INTERFACE);
    Ok(())
}
