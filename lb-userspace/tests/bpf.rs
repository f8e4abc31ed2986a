//! The committed objects in this kernel: loading, pinning, adopting, refusing. Needs root.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use lb_common::{
    Action, Address, Be16, MacAddress, Reason,
    flow::{FlowState, FlowWord},
    table::{Interface, LookupTable, RealServer, Service, ServiceKey, Vip, VipFilter},
};
use lb_userspace::{
    bpf::{BpfError, Clock, Director, Options, UnwrapProgram},
    census::FlowCounts,
    store::{Capacity, Store},
    sys::SharedWords,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const CAPACITY: Capacity =
    Capacity { services: 16, real_servers: 64, lookup: 1024, vips: 16, flows: 1024 };

/// What the verifier may look at: a quarter of where it gives up. Linux 6.1 looks at 130 thousand,
/// 6.18 at 223 thousand.
const VERIFIED: u32 = 250_000;

/// A pin directory of this test's own, removed when the test ends.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("tunlb-test-{}-{test}", process::id())))
    }

    fn options(&self, capacity: Capacity) -> Options {
        Options { pin: self.0.clone(), capacity, icmp_limit: 10, debug: false }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        Director::remove(&self.0).expect("the pins can be removed");
        assert!(!self.0.exists());
    }
}

#[test]
fn the_verifier_accepts_the_director() {
    let pins = Pins::new("verify");
    let director = Director::open(&pins.options(CAPACITY)).expect("maps");
    let mut program = director.load(0).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let verified = program.verified_instructions().expect("a description");
    assert!(verified.is_none_or(|count| count < VERIFIED), "{verified:?} instructions looked at");
    let run = program.test_run(&[0; 64]).expect("a run");
    assert_eq!(run.action, Action::Pass);
    assert_eq!(run.frame, [0; 64]);
}

#[test]
fn maps_of_another_size_are_refused_and_kept() {
    let pins = Pins::new("layout");
    drop(Director::open(&pins.options(CAPACITY)).expect("maps"));
    let larger = Capacity { flows: 2048, ..CAPACITY };
    let refused = Director::open(&pins.options(larger)).err().expect("a refusal");
    assert!(matches!(refused, BpfError::Layout { .. }), "{refused}");
    assert!(refused.to_string().contains("FLOWS"), "{refused}");
    drop(Director::open(&pins.options(CAPACITY)).expect("the maps are still there"));
}

#[test]
fn the_real_servers_program_takes_over_no_maps_of_another_kind() {
    let pins = Pins::new("unwrap");
    drop(Director::open(&pins.options(CAPACITY)).expect("maps"));
    let none = BTreeSet::new();
    let refused = UnwrapProgram::load(&pins.0, &none, &none).err().expect("a refusal");
    assert!(matches!(refused, BpfError::Layout { .. }), "{refused}");
    assert!(refused.to_string().contains("VIPS"), "{refused}");
    drop(Director::open(&pins.options(CAPACITY)).expect("the maps are still there"));
}

/// An Ethernet frame with a TCP segment from a client to the VIP.
fn segment(client: u32, port: u16, flags: u8) -> Vec<u8> {
    let [a, b, c, d] = client.to_be_bytes();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
        .ipv4([a, b, c, d], VIP, 64)
        .tcp(port, 80, 1, 1024);
    let builder = if flags & 2 != 0 { builder.syn() } else { builder.ack(1) };
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("a frame");
    frame
}

const VIP: [u8; 4] = [192, 0, 2, 10];
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// One service with one real server.
fn fill(store: &mut dyn Store) {
    let key = ServiceKey::new(Address::v4(VIP), Be16::new(80), 6);
    let real_server = RealServer {
        service: key,
        interface: 1,
        mtu: 1500,
        address: Address::v4([192, 0, 2, 20]),
        source: Address::v4([192, 0, 2, 1]),
        weight: 1,
        ..RealServer::default()
    };
    store.set_interface(0, Interface::new(MAC));
    store.set_real_server(0, &real_server);
    store.set_lookup(0, &[0]);
    store.set_service(0, &Service { table: LookupTable::new(0, 1), key, ..Service::default() });
    store.insert_vip(&key.address, Vip::OWNED).expect("room");
    store.set_vip_filter(&VipFilter::of([key.address]));
    store.insert_service_index(&key, 0).expect("room");
}

#[test]
fn flows_in_a_half_full_table_displace_nobody() {
    let pins = Pins::new("flows");
    let capacity = Capacity { flows: 4096, ..CAPACITY };
    let mut director = Director::open(&pins.options(capacity)).expect("maps");
    fill(director.store());
    let mut program = director.load(0).expect("verified");
    let clients = || (0..2048u32).map(|n| (0x0a00_0000 + n / 8, 40_000 + (n % 8) as u16));
    for (client, port) in clients() {
        let run = program.test_run(&segment(client, port, 2)).expect("a run");
        assert_eq!(run.action, Action::Transmit);
    }
    let reasons = director.store().reasons().expect("counters");
    assert_eq!(reasons[Reason::Scheduled as usize], 2048);
    let mut keys = BTreeSet::new();
    director.store().flows(&mut |_, key| {
        keys.insert((key.source, key.source_port));
    });
    assert_eq!(keys.len(), 2048);
    for (client, port) in clients() {
        let run = program.test_run(&segment(client, port, 16)).expect("a run");
        assert_eq!(run.action, Action::Transmit, "{client:x}:{port}");
    }
    let counters = director.store().counters(0).expect("counters");
    assert_eq!((counters.flows, counters.packets), (2048, 4096));
}

#[test]
fn expired_flows_are_swept_by_the_data_paths_clock() {
    let pins = Pins::new("sweep");
    let mut director = Director::open(&pins.options(CAPACITY)).expect("maps");
    fill(director.store());
    let mut program = director.load(0).expect("verified");
    for client in [0x0a00_0001, 0x0a00_0002] {
        program.test_run(&segment(client, 40_000, 2)).expect("a run");
    }
    program.test_run(&segment(0x0a00_0001, 40_000, 16)).expect("a run");
    let now = Clock::open().expect("a clock").ticks().expect("the time");
    let (half_open, open) = (FlowState::SYN_RECV, FlowState::ESTABLISHED);
    let [half_open, open] = [half_open, open].map(|state| u64::from(state.timeout_ticks()));
    let sweeper = director.sweeper();
    let swept = |now| {
        let census = sweeper.sweep(now);
        assert_eq!(census.of(0), FlowCounts { active: census.in_use(), inactive: 0 });
        (census.expired(), census.in_use())
    };
    assert_eq!([swept(now), swept(now + half_open - 10)], [(0, 2); 2]);
    assert_eq!([swept(now + half_open + 10), swept(now + open - 10)], [(1, 1), (0, 1)]);
    assert_eq!(swept(now + open + 10), (1, 0));
    drop(director);
    assert_eq!(swept(now), (0, 0), "the words outlive the director");
}

/// How long that takes is printed: `cargo test --release --test bpf -- --nocapture million`.
#[test]
fn a_table_of_a_million_words_is_swept_whole() {
    const WORDS: u32 = 1 << 20;
    let pins = Pins::new("million");
    let capacity = Capacity { flows: WORDS, ..CAPACITY };
    let director = Director::open(&pins.options(capacity)).expect("maps");
    let flows = MapData::from_pin(pins.0.join("FLOWS")).expect("is pinned");
    let words = SharedWords::map(flows.fd(), WORDS as usize).expect("can be mapped");
    let sweeper = director.sweeper();
    let sweep = |what: &str| {
        let mut best = Duration::MAX;
        let mut census = None;
        for _ in 0..20 {
            let begun = Instant::now();
            census = Some(sweeper.sweep(1000));
            best = best.min(begun.elapsed());
        }
        println!("{WORDS} words, {what}: swept in {best:?}");
        census.expect("swept")
    };
    assert_eq!(sweep("none in use").in_use(), 0);

    // Every other place, in no order that a CPU could learn.
    let states = [FlowState::ESTABLISHED, FlowState::SYN_RECV, FlowState::CLOSE, FlowState::UDP];
    let mut expected = [FlowCounts::default(); 64];
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (random >> 33) % below
    };
    for place in 0..WORDS as usize {
        if next(2) == 0 {
            continue;
        }
        let (server, state) = (next(64) as u16, next(4) as usize);
        words.store(place, FlowWord::new(1, server, states[state], 1000).0);
        let counts = &mut expected[usize::from(server)];
        if state < 2 { counts.active += 1 } else { counts.inactive += 1 }
    }
    let census = sweep("half of them in use");
    assert_eq!(std::array::from_fn(|index| census.of(index as u32)), expected);
    let sum: u32 = expected.iter().map(|flows| flows.active + flows.inactive).sum();
    assert_eq!(census.in_use(), sum);

    let begun = Instant::now();
    let census = sweeper.sweep(1000 + 57);
    println!("{} of them expired: swept in {:?}", census.expired(), begun.elapsed());
    let kept = census.in_use();
    assert_eq!(sweep("what is left").in_use(), kept);
    assert_eq!(census.expired() + kept, sum);
}

#[test]
fn a_purge_takes_the_flows_of_all_that_are_named_and_no_others() {
    let pins = Pins::new("purge");
    let mut director = Director::open(&pins.options(CAPACITY)).expect("maps");
    fill(director.store());
    let mut program = director.load(0).expect("verified");
    program.test_run(&segment(0x0a00_0001, 40_000, 2)).expect("a run");
    assert_eq!(director.store().purge(&BTreeSet::from([1, 2])), 0);
    assert_eq!(director.store().purge(&BTreeSet::from([2, 0])), 1);
}

/// As `ip netns exec` does: a mount namespace with a fresh /sys.
fn hide_the_bpf_file_system() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).expect("mounts of its own");
    umount2("/sys", MntFlags::MNT_DETACH).expect("no /sys");
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("another /sys");
}

#[test]
fn pins_go_to_the_hosts_file_system_from_where_it_is_hidden() {
    let pins = Pins::new("hidden");
    let options = pins.options(CAPACITY);
    let hidden = thread::spawn(move || {
        hide_the_bpf_file_system();
        drop(Director::open(&options).expect("maps"));
        !options.pin.exists()
    });
    assert!(hidden.join().expect("no panic"), "the pins should not be seen from there");
    assert!(pins.names().iter().any(|name| name == "FLOWS"), "{:?}", pins.names());
    let directory = pins.0.clone();
    let removed = thread::spawn(move || {
        hide_the_bpf_file_system();
        Director::remove(&directory).expect("removed")
    });
    assert!(removed.join().expect("no panic"));
    assert!(!pins.0.exists());
}

#[test]
fn a_pin_directory_has_one_director_and_no_lock_file() {
    let pins = Pins::new("lock");
    let first = Director::open(&pins.options(CAPACITY)).expect("maps");
    let before = pins.names();
    let second = Director::open(&pins.options(CAPACITY)).err().expect("a refusal");
    assert!(matches!(second, BpfError::InUse { .. }), "{second}");
    assert!(second.to_string().contains(&format!("pid {}", process::id())), "{second}");
    let removal = Director::remove(&pins.0).expect_err("a refusal");
    assert!(matches!(removal, BpfError::InUse { .. }), "{removal}");
    assert_eq!(pins.names(), before);
    assert!(before.iter().all(|name| !name.contains("lock")), "{before:?}");
    drop(first);
    drop(Director::open(&pins.options(CAPACITY)).expect("free again"));
}
