//! What stands in front of everything else: which addresses may be VIPs, and which frames are ours.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Interface, VipFilter};

/// How many interfaces a director can be attached to.
pub const INTERFACES: usize = 64;

/// One value, because each look into a map costs: most packets on most hosts need nothing else.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Front {
    /// The filter in front of the VIPs.
    pub vip_filter: VipFilter,
    /// The interfaces that the director is attached to, by slot.
    pub interfaces: [Interface; INTERFACES],
}

impl Default for Front {
    fn default() -> Self {
        Self { vip_filter: VipFilter::default(), interfaces: [Interface::default(); INTERFACES] }
    }
}

impl Front {
    /// The interface in this slot; only the lower six bits of `slot` count.
    #[inline(always)]
    pub const fn interface(&self, slot: u32) -> Interface {
        self.interfaces[slot as usize & (INTERFACES - 1)]
    }
}

const _: () = assert!(size_of::<Front>() == 1024 && align_of::<Front>() == 8);
