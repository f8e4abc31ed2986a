//! The one list of reasons: counter index, metric label, trace field and table in the docs.

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the kernel's stack, untouched (or unwrapped, on a real server).
    Pass,
    /// Nowhere.
    Drop,
    /// Out of the interface it came in on.
    Transmit,
    /// Out of the interface with this index.
    Redirect(u32),
}

/// An action and the one reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    kind: Kind,
    /// Where a redirected frame goes; else 0. Never undefined as an enum's payload would be: LLVM
    /// reads that from any stack slot, and the verifier refuses what it finds there.
    interface: u32,
}

/// An [`Action`] without its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pass,
    Drop,
    Transmit,
    Redirect,
}

impl Verdict {
    /// What becomes of the frame.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self.kind {
            Kind::Pass => Action::Pass,
            Kind::Drop => Action::Drop,
            Kind::Transmit => Action::Transmit,
            Kind::Redirect => Action::Redirect(self.interface),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $index:literal, $label:literal, $help:literal;)*) => {
        /// Why a frame met its verdict. The number is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $help] $name = $index,)*
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in listings, metrics and vectors.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// One sentence for a person.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

reasons! {
    PassNotIpv4 = 0, "pass-not-ipv4", "neither IPv4 nor ARP: left to the kernel";
    PassNotVip = 1, "pass-not-vip", "not for a VIP: left to the kernel";
    PassOtherHost = 2, "pass-other-host", "addressed to another host's MAC: left to the kernel";
    PassLocalVip = 3, "pass-local-vip", "the VIP is an address of the director and no service matched: the kernel answers";
    Forwarded = 4, "forwarded", "a known flow's packet, or an ICMP error about one, sent to the flow's real server";
    Scheduled = 5, "scheduled", "a new flow's first packet, sent to the real server chosen for it";
    ArpAnswered = 6, "arp-answered", "ARP request for an owned VIP, answered";
    EchoAnswered = 7, "echo-answered", "ICMP echo request to an owned VIP, answered";
    FragmentationNeeded = 8, "fragmentation-needed", "too big for the real server's path with DF set: ICMP 3/4 sent to the client";
    TimeExceeded = 9, "time-exceeded", "TTL of 1 or less: ICMP 11/0 sent to the client";
    NoServer = 10, "no-server", "the service has no usable real server for the client: ICMP 3/3 sent";
    DropMalformed = 11, "drop-malformed", "for an owned VIP, but its headers do not fit its length";
    DropFragment = 12, "drop-fragment", "a fragment for an owned VIP";
    ProtocolUnreachable = 13, "protocol-unreachable", "for an owned VIP, of a protocol that is not balanced: ICMP 3/2 sent to the client";
    DropNoService = 14, "drop-no-service", "a TCP reset for an owned VIP, of no service: nothing answers a reset";
    DropNoFlow = 15, "drop-no-flow", "a TCP reset of no known flow: nothing answers a reset";
    DropNoNextHop = 16, "drop-no-next-hop", "the next hop to the real server does not answer, or cannot be used";
    DropTooBig = 17, "drop-too-big", "too big for the real server's path, without DF";
    DropRateLimited = 18, "drop-rate-limited", "an ICMP error or TCP reset was due but the limit per second is reached";
    DropMartian = 19, "drop-martian", "for a VIP, from a source address that no client can have";
    DropContended = 20, "drop-contended", "a new flow lost the race for its slot; the client's retry opens it";
    DropHeadroom = 21, "drop-headroom", "the driver left no room to grow the frame";
    DropIcmp = 22, "drop-icmp", "ICMP to an owned VIP that is neither an echo request nor about a known flow, or cannot be sent on";
    DropPathMtu = 23, "drop-path-mtu", "the real server's path MTU leaves less than IPv4's minimum of 68 bytes";
    DropInternal = 24, "drop-internal", "the tables contradict each other: a bug, please report";
    Unwrapped = 25, "unwrapped", "real server: IPIP packet unwrapped and handed to the stack";
    PassNotTunnel = 26, "pass-not-tunnel", "real server: not an IPIP packet to this host for one of its VIPs: left to the kernel";
    DropInner = 27, "drop-inner", "real server: IPIP packet whose inner packet is malformed";
    ResetNoService = 28, "reset-no-service", "TCP for an owned VIP, but no service has this port: reset sent to the client";
    ResetNoFlow = 29, "reset-no-flow", "TCP without a known flow, and not a SYN that could open one: reset sent to the client";
    PortUnreachable = 30, "port-unreachable", "UDP for an owned VIP, but no service has this port: ICMP 3/3 sent to the client";
    HostUnreachable = 31, "host-unreachable", "no route leads to the real server: ICMP 3/1 sent to the client";
}

impl Reason {
    /// This reason with the frame passed to the kernel.
    #[inline(always)]
    pub const fn pass(self) -> Verdict {
        Verdict { reason: self, kind: Kind::Pass, interface: 0 }
    }

    /// This reason with the frame dropped.
    #[inline(always)]
    pub const fn drop(self) -> Verdict {
        Verdict { reason: self, kind: Kind::Drop, interface: 0 }
    }

    /// This reason with the frame sent back out of its interface.
    #[inline(always)]
    pub const fn transmit(self) -> Verdict {
        Verdict { reason: self, kind: Kind::Transmit, interface: 0 }
    }

    /// This reason with the frame sent out of another interface.
    #[inline(always)]
    pub const fn redirect(self, interface: u32) -> Verdict {
        Verdict { reason: self, kind: Kind::Redirect, interface }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_so_that_they_index_counters() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
