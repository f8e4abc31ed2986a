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
    sys::LinkHandle,
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

#[test]
fn modes_switch_at_once_as_often_as_asked() {
    in_namespace(async || {
        let pins = Pins::new("switch");
        let netlink = Netlink::connect().expect("netlink");
        netlink.create_veth("a", "b", None).await.expect("a pair");
        let index = netlink.require_link("a").await.expect("there").index;
        let mut director = pins.open();
        for mode in [Mode::Generic, Mode::Native].repeat(20) {
            let wanted = attachment("a", index, mode);
            assert!(!director.attach(&wanted, MAC).expect("attached"));
            assert_eq!(director.attachments().expect("readable"), [wanted]);
        }
        for _ in 0..10 {
            director.detach("a").expect("detached");
            director.attach(&attachment("a", index, Mode::Generic), MAC).expect("attached");
        }
    });
}

#[test]
fn renamed_interfaces_stay_attached() {
    in_namespace(async || {
        let pins = Pins::new("renamed");
        let netlink = Netlink::connect().expect("netlink");
        netlink.create_veth("a", "b", None).await.expect("a pair");
        let a = netlink.require_link("a").await.expect("there").index;
        let b = netlink.require_link("b").await.expect("there").index;
        let native = |name, index| attachment(name, index, Mode::Native);
        let mut director = pins.open();
        director.attach(&native("a", a), MAC).expect("attached");
        director.attach(&native("b", b), MAC).expect("attached");
        drop(director);

        for (index, name) in [(a, "c"), (b, "a"), (a, "b")] {
            netlink.rename_link(index, name).await.expect("renamed");
        }
        let mut director = pins.open();
        let attachments = director.attachments().expect("readable");
        assert!(attachments.contains(&native("b", a)), "{attachments:?}");
        assert!(attachments.contains(&native("a", b)), "{attachments:?}");
        assert!(director.attach(&native("a", b), MAC).expect("taken over"));
        assert!(director.attach(&native("b", a), MAC).expect("taken over"));
        let mut links = [format!("xdp-native-{a}-0-b"), format!("xdp-native-{b}-1-a")];
        links.sort();
        assert_eq!(pins.links(), links);
        director.detach("b").expect("detached");
        assert_eq!(director.attachments().expect("readable"), [native("a", b)]);
    });
}

#[test]
fn what_was_detached_by_others_is_not_attached_and_can_be_again() {
    in_namespace(async || {
        let pins = Pins::new("detached");
        let netlink = Netlink::connect().expect("netlink");
        netlink.create_veth("a", "b", None).await.expect("a pair");
        let index = netlink.require_link("a").await.expect("there").index;
        let mut director = pins.open();
        let native = attachment("a", index, Mode::Native);
        director.attach(&native, MAC).expect("attached");
        let pin = pins.0.join(&pins.links()[0]);
        LinkHandle::open(&pin).expect("a link").detach().expect("detached");
        assert_eq!(director.attachments().expect("readable"), []);
        assert!(!director.attach(&native, MAC).expect("attached"));
        assert_eq!(director.attachments().expect("readable"), std::slice::from_ref(&native));

        netlink.delete_link(index).await.expect("deleted");
        assert_eq!(director.attachments().expect("readable"), []);
    });
}

#[test]
fn pins_of_another_version_go_and_what_is_unknown_is_named() {
    in_namespace(async || {
        let pins = Pins::new("older");
        let mut director = pins.open();
        director.attach(&attachment("lo", 1, Mode::Generic), MAC).expect("attached");
        drop(director);
        fs::rename(pins.0.join(&pins.links()[0]), pins.0.join("xdp-lo")).expect("renamed");
        let (known, unknown) = (pins.0.join("REASONS"), pins.0.join("OTHER"));
        fs::rename(&known, &unknown).expect("renamed");
        let error = Director::remove(&pins.0).expect_err("refused").to_string();
        assert!(error.contains("OTHER"), "{error}");
        let left: Vec<_> = fs::read_dir(&pins.0).expect("readable").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        fs::rename(&unknown, &known).expect("renamed");
        assert!(Director::remove(&pins.0).expect("removed"));
        assert!(!pins.0.exists());
    });
}
