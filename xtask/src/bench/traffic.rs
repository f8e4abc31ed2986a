//! Frames in and out of a veth: the generator of live frames and the sink, programs of the committed bench object.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode, xdp::XdpLinkId},
};
use lb_userspace::netns::Namespace;

use super::measure;
use crate::repo::Repo;

/// Sends what it is run on back out of the interface that it seems to have come in by, each frame rewritten.
const GENERATE: &str = "generate";
/// Drops whatever comes.
const SINK: &str = "sink";

/// The programs, loaded.
pub(super) struct Traffic {
    /// The object has the director's maps, which want to be pinned somewhere.
    pins: PathBuf,
    object: Ebpf,
}

impl Traffic {
    pub(super) fn load(repo: &Repo) -> Result<Self> {
        let pins = Path::new("/sys/fs/bpf").join(format!("tunlb-bench-{}", process::id()));
        fs::create_dir_all(&pins).with_context(|| {
            format!("cannot make {}; is a BPF file system mounted there", pins.display())
        })?;
        let loaded = load(repo, &pins);
        if loaded.is_err() {
            remove(&pins);
        }
        Ok(Self { object: loaded?, pins })
    }

    /// Makes `repeat` frames come out of an interface of this thread's namespace; returns when the last one is sent. The
    /// seconds that it took, without making room for frames before and giving it back after.
    pub(super) fn generate(&self, interface: u32, frame: &[u8], repeat: u32) -> Result<f64> {
        let program: &Xdp =
            self.object.program(GENERATE).context("no generator in bench.o")?.try_into()?;
        let nanoseconds = measure::run_live(program, frame, interface, repeat)?;
        Ok(nanoseconds * f64::from(repeat) / 1e9)
    }

    /// Drops what arrives at an interface, in the driver.
    pub(super) fn attach_sink(
        &mut self,
        namespace: &Namespace,
        interface: &str,
    ) -> Result<XdpLinkId> {
        let sink: &mut Xdp =
            self.object.program_mut(SINK).context("no sink in bench.o")?.try_into()?;
        namespace
            .run(|| sink.attach(interface, XdpMode::Driver))?
            .with_context(|| format!("cannot attach the sink to {interface}"))
    }

    /// Ends that.
    pub(super) fn detach_sink(&mut self, link: XdpLinkId) -> Result<()> {
        let sink: &mut Xdp =
            self.object.program_mut(SINK).context("no sink in bench.o")?.try_into()?;
        sink.detach(link).context("cannot detach the sink")
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        remove(&self.pins);
    }
}

fn remove(pins: &Path) {
    if let Err(error) = fs::remove_dir_all(pins) {
        eprintln!("{} is left behind: {error}", pins.display());
    }
}

fn load(repo: &Repo, pins: &Path) -> Result<Ebpf> {
    let path = repo.objects().join("bench.o");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(pins);
    // Neither program looks at a map: none needs its size.
    for map in ["FLOWS", "FLOW_KEYS", "LOOKUP", "REAL_SERVERS", "SERVER_COUNTERS", "LRU_FLOWS"] {
        loader.map_max_entries(map, 64);
    }
    let mut object =
        loader.load(&bytes).with_context(|| format!("cannot load {}", path.display()))?;
    for name in [GENERATE, SINK] {
        let program: &mut Xdp = object
            .program_mut(name)
            .with_context(|| format!("no {name} in bench.o"))?
            .try_into()?;
        program.load().with_context(|| format!("the kernel refused the program {name}"))?;
    }
    Ok(object)
}
