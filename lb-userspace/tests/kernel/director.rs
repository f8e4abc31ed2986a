//! Attaching the director: slots, modes, and what stays when the kernel refuses.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use lb_common::MacAddress;
use lb_userspace::{
    bpf::{Attachment, BpfError, Director, Mode, Options},
    netlink::Netlink,
    store::Capacity,
};

use super::support::in_namespace;

/// A pin directory of this test's own, removed when the test ends.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("tunlb-test-{}-{test}", process::id())))
    }

    fn open(&self) -> Director {
        let capacity =
            Capacity { services: 16, real_servers: 64, lookup: 1024, vips: 16, flows: 1024 };
        let options = Options { pin: self.0.clone(), capacity, icmp_limit: 10, debug: false };
        Director::open(&options).expect("maps")
    }

    fn links(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable");
        let names =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"));
        let mut links: Vec<_> = names.filter(|name| name.starts_with("xdp-")).collect();
        links.sort();
        links
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        Director::remove(&self.0).expect("the pins can be removed");
        assert!(!self.0.exists());
    }
}

fn attachment(interface: &str, index: u32, mode: Mode) -> Attachment {
    Attachment { interface: interface.into(), index, mode }
}

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

#[test]
fn interfaces_keep_their_slots_whatever_the_order() {
    in_namespace(async || {
        let pins = Pins::new("slots");
        let netlink = Netlink::connect().expect("netlink");
        netlink.create_veth("a", "b", None).await.expect("a pair");
        let a = netlink.require_link("a").await.expect("there").index;
        let b = netlink.require_link("b").await.expect("there").index;
        let native = |name, index| attachment(name, index, Mode::Native);
        let mut in_order = [format!("xdp-native-{a}-0-a"), format!("xdp-native-{b}-1-b")];
        in_order.sort();

        let mut director = pins.open();
        assert!(!director.attach(&native("a", a), MAC).expect("attached"));
        assert!(!director.attach(&native("b", b), MAC).expect("attached"));
        assert_eq!(pins.links(), in_order);
        drop(director);
        let mut director = pins.open();
        assert!(director.attach(&native("b", b), MAC).expect("taken over"));
        assert!(director.attach(&native("a", a), MAC).expect("taken over"));
        assert_eq!(pins.links(), in_order);

        director.detach("a").expect("detached");
        director.attach(&attachment("b", b, Mode::Generic), MAC).expect("attached");
        assert_eq!(pins.links(), [format!("xdp-generic-{b}-1-b")]);
        director.attach(&native("a", a), MAC).expect("attached");
        assert!(pins.links().contains(&format!("xdp-native-{a}-0-a")));
    });
}

#[test]
fn a_refused_mode_leaves_the_other_attached() {
    in_namespace(async || {
        let pins = Pins::new("modes");
        let mut director = pins.open();
        let generic = attachment("lo", 1, Mode::Generic);
        director.attach(&generic, MAC).expect("attached");
        let refused = director.attach(&attachment("lo", 1, Mode::Native), MAC);
        assert!(matches!(refused, Err(BpfError::Attach { .. })), "{refused:?}");
        assert_eq!(director.attachments().expect("readable"), std::slice::from_ref(&generic));
        assert!(director.attach(&generic, MAC).expect("still attached"));
    });
}
