//! The flow word: tag, real server, state and last-seen time of one flow in 64 bits.
//!
//! ```text
//!  63          36 35          20 19    16 15           0
//! +--------------+--------------+--------+--------------+
//! |     tag      | real server  | state  |  last seen   |
//! +--------------+--------------+--------+--------------+
//! ```

use super::state::FlowState;

/// Bits of the tag: with half of the slots in use, a new flow meets a foreign word that it cannot
/// be told from once in 2^27 / 8 flows (one bit is always set), and then shares its real server.
pub(super) const TAG_BITS: u32 = 28;

const TAG_SHIFT: u32 = 36;
const SERVER_SHIFT: u32 = 20;
const STATE_SHIFT: u32 = 16;
/// More ticks than can pass between a CPU's look at the clock and its look at the word.
const SKEW_TICKS: u16 = 16;

/// One flow, or [`FlowWord::EMPTY`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowWord(pub u64);

impl FlowWord {
    /// No flow.
    pub const EMPTY: Self = Self(0);

    /// A flow seen now. `tag` must not be 0; of `now` (ticks), the lower 16 bits are kept.
    #[inline(always)]
    pub const fn new(tag: u32, real_server: u16, state: FlowState, now: u64) -> Self {
        Self(
            (tag as u64) << TAG_SHIFT
                | (real_server as u64) << SERVER_SHIFT
                | (state.0 as u64) << STATE_SHIFT
                | now & 0xffff,
        )
    }

    /// Whether this is no flow.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flow's tag; 0 when empty.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> TAG_SHIFT) as u32
    }

    /// The index of the flow's real server.
    #[inline(always)]
    pub const fn real_server(self) -> u32 {
        (self.0 >> SERVER_SHIFT) as u32 & 0xffff
    }

    /// The flow's state.
    #[inline(always)]
    pub const fn state(self) -> FlowState {
        FlowState((self.0 >> STATE_SHIFT) as u8 & 0xf)
    }

    /// Ticks since the flow was last seen, modulo 2^16 (19.5 hours); 0 when it was seen a little
    /// after `now`, by a CPU that read the clock later but came to the word first.
    #[inline(always)]
    pub const fn age(self, now: u64) -> u16 {
        let age = (now as u16).wrapping_sub(self.0 as u16);
        if age > u16::MAX - SKEW_TICKS { 0 } else { age }
    }

    /// Whether the flow is in this state and was seen in this tick: a packet that keeps the state
    /// leaves the word as it is.
    #[inline(always)]
    pub const fn is_current(self, state: FlowState, now: u64) -> bool {
        self.0 & 0xf_ffff == (state.0 as u64) << STATE_SHIFT | now & 0xffff
    }

    /// The word after a packet at `now` that leads to `state`.
    #[inline(always)]
    pub const fn touched(self, state: FlowState, now: u64) -> Self {
        Self(
            self.0 >> SERVER_SHIFT << SERVER_SHIFT | (state.0 as u64) << STATE_SHIFT | now & 0xffff,
        )
    }

    /// Whether the flow's state has timed out.
    #[inline(always)]
    pub const fn is_expired(self, now: u64) -> bool {
        self.age(now) > self.state().timeout_ticks()
    }
}
