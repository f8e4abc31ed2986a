//! The state of a flow: IPVS's TCP machine as it moves when only the client's packets are seen.
//!
//! Source of the transitions and timeouts: the `INPUT_ONLY` rows and `tcp_timeouts` of Linux
//! `net/netfilter/ipvs/ip_vs_proto_tcp.c`, confirmed by measurement on a running ip_vs.

use network_types::tcp::TcpHdr;

/// Nanoseconds in a tick, the unit of last-seen times.
pub const TICK_NANOSECONDS: u64 = 1 << 30;

/// A state, numbered as IPVS numbers TCP's; UDP has one of its own. Fits four bits.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowState(pub u8);

/// What a TCP segment means to the state machine, in IPVS's order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// RST is set.
    Reset,
    /// SYN is set, RST is not.
    Syn,
    /// FIN is set, RST and SYN are not.
    Fin,
    /// ACK is set, RST, SYN and FIN are not.
    Ack,
    /// None of the four: IPVS closes the flow.
    None,
}

impl Segment {
    const FIN: u8 = 0x01;
    /// The flag that opens a connection.
    pub const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    /// The flags that the machine looks at.
    const FLAGS: u8 = Self::FIN | Self::SYN | Self::RST | Self::ACK;

    /// Where the flags are in the header: after the byte with the data offset.
    pub const FLAGS_OFFSET: usize = core::mem::offset_of!(TcpHdr, window) - 1;

    /// Whether the flags are those of a segment in the middle of a connection: ACK and nothing else
    /// that the machine looks at.
    #[inline(always)]
    pub const fn is_plain_ack(flags: u8) -> bool {
        flags & Self::FLAGS == Self::ACK
    }

    /// Reads the flags byte of a TCP header (RFC 9293, 3.1).
    #[inline(always)]
    pub const fn of(flags: u8) -> Self {
        if flags & Self::RST != 0 {
            Self::Reset
        } else if flags & Self::SYN != 0 {
            Self::Syn
        } else if flags & Self::FIN != 0 {
            Self::Fin
        } else if flags & Self::ACK != 0 {
            Self::Ack
        } else {
            Self::None
        }
    }
}

/// A row of the transition table: the next state of state `n` is nibble `n`.
const fn row(next: [FlowState; 11]) -> u64 {
    let mut row = 0;
    let mut state = 0;
    while state < next.len() {
        row |= (next[state].0 as u64) << (4 * state);
        state += 1;
    }
    row
}

impl FlowState {
    /// Not a flow yet.
    pub const NONE: Self = Self(0);
    /// Both sides talk.
    pub const ESTABLISHED: Self = Self(1);
    /// Not reachable for a director in Tunnel mode.
    pub const SYN_SENT: Self = Self(2);
    /// The client's SYN was seen.
    pub const SYN_RECV: Self = Self(3);
    /// The client's FIN was seen.
    pub const FIN_WAIT: Self = Self(4);
    /// Closing.
    pub const TIME_WAIT: Self = Self(5);
    /// Reset, or closed by a segment without flags.
    pub const CLOSE: Self = Self(6);
    /// Not reachable for a director in Tunnel mode.
    pub const CLOSE_WAIT: Self = Self(7);
    /// Not reachable for a director in Tunnel mode.
    pub const LAST_ACK: Self = Self(8);
    /// Not reachable for a director in Tunnel mode.
    pub const LISTEN: Self = Self(9);
    /// Not reachable without `secure_tcp`.
    pub const SYNACK: Self = Self(10);
    /// A UDP flow.
    pub const UDP: Self = Self(11);
    /// A UDP flow of which one datagram was seen: evicted before those that go on.
    pub const UDP_FIRST: Self = Self(12);

    //                        NONE        ESTABLISHED        SYN_SENT           SYN_RECV           FIN_WAIT           TIME_WAIT          CLOSE           CLOSE_WAIT        LAST_ACK          LISTEN          SYNACK
    const ON_SYN: u64 = row([
        Self::SYN_RECV,
        Self::ESTABLISHED,
        Self::ESTABLISHED,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
        Self::SYN_RECV,
    ]);
    const ON_FIN: u64 = row([
        Self::CLOSE,
        Self::FIN_WAIT,
        Self::SYN_SENT,
        Self::TIME_WAIT,
        Self::FIN_WAIT,
        Self::TIME_WAIT,
        Self::CLOSE,
        Self::CLOSE_WAIT,
        Self::LAST_ACK,
        Self::LISTEN,
        Self::TIME_WAIT,
    ]);
    const ON_ACK: u64 = row([
        Self::ESTABLISHED,
        Self::ESTABLISHED,
        Self::SYN_SENT,
        Self::ESTABLISHED,
        Self::FIN_WAIT,
        Self::TIME_WAIT,
        Self::CLOSE,
        Self::CLOSE_WAIT,
        Self::CLOSE,
        Self::LISTEN,
        Self::ESTABLISHED,
    ]);
    const ON_RESET: u64 = row([
        Self::CLOSE,
        Self::CLOSE,
        Self::CLOSE,
        Self::SYN_RECV,
        Self::CLOSE,
        Self::CLOSE,
        Self::CLOSE,
        Self::CLOSE,
        Self::LAST_ACK,
        Self::LISTEN,
        Self::CLOSE,
    ]);

    /// The state after a TCP segment.
    #[inline(always)]
    pub const fn after(self, segment: Segment) -> Self {
        let row = match segment {
            Segment::Syn => Self::ON_SYN,
            Segment::Fin => Self::ON_FIN,
            Segment::Ack => Self::ON_ACK,
            Segment::Reset => Self::ON_RESET,
            Segment::None => return Self::CLOSE,
        };
        Self((row >> ((self.0 as u32 * 4) & 63)) as u8 & 0xf)
    }

    /// Whether the flow is evicted before established ones: nobody has shown that it goes on. Such
    /// are half-open flows, those that are closing, and lone datagrams: a flood of any of these
    /// displaces only its like.
    #[inline(always)]
    pub const fn is_expendable(self) -> bool {
        !matches!(self, Self::ESTABLISHED | Self::UDP)
    }

    /// Whether a SYN in this state starts a new flow, as with IPVS's `conn_reuse_mode` 1.
    #[inline(always)]
    pub const fn is_reusable(self) -> bool {
        matches!(self, Self::TIME_WAIT | Self::CLOSE)
    }

    /// IPVS's timeout in seconds.
    pub const fn timeout_seconds(self) -> u16 {
        match self {
            Self::ESTABLISHED => 900,
            Self::UDP | Self::UDP_FIRST => 300,
            Self::SYN_RECV | Self::CLOSE_WAIT => 60,
            Self::CLOSE => 10,
            Self::LAST_ACK => 30,
            Self::NONE => 2,
            _ => 120,
        }
    }

    /// The timeout in ticks, rounded up.
    #[inline(always)]
    pub const fn timeout_ticks(self) -> u16 {
        /// Ticks by state.
        const TICKS: [u16; 16] = {
            let mut ticks = [0; 16];
            let mut state = 0;
            while state < 16 {
                let nanoseconds = FlowState(state as u8).timeout_seconds() as u64 * 1_000_000_000;
                ticks[state] = nanoseconds.div_ceil(TICK_NANOSECONDS) as u16;
                state += 1;
            }
            ticks
        };
        TICKS[self.0 as usize & 0xf]
    }
}
