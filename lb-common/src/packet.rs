//! A packet as the pipeline sees it: bounds-checked loads and stores, a head and a tail that move.

use crate::wire::checksum::Sum;

/// The frame under way. Offsets are bytes from the start of the Ethernet header.
///
/// Every access is checked against the frame's end; after [`Packet::move_head`] and
/// [`Packet::truncate`] offsets count from the new start.
pub trait Packet {
    /// Reads `N` bytes; `None` when they are not all inside the frame.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Writes `N` bytes; false, and nothing written, when they are not all inside the frame.
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> bool;

    /// `N` bytes where they stand; `None` when they are not all inside the frame.
    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// The Internet checksum's sum over `N` bytes, a multiple of 4; `None` when they are not all
    /// inside the frame.
    #[inline(always)]
    fn sum<const N: usize>(&self, offset: usize) -> Option<Sum> {
        let bytes = self.load::<N>(offset)?;
        let (words, []) = bytes.as_chunks::<4>() else {
            return None;
        };
        Some(words.iter().fold(Sum::ZERO, |sum, word| sum.word32(u32::from_ne_bytes(*word))))
    }

    /// The frame's length in bytes.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves the frame's start by `bytes`: towards the front when positive (the frame grows), into
    /// the frame when negative. New bytes have no defined value. False when there is no room.
    fn move_head(&mut self, bytes: i32) -> bool;

    /// Cuts the frame to `length` bytes, which must not be more than it has. False when it cannot.
    fn truncate(&mut self, length: usize) -> bool;

    /// The index of the interface that the frame came in on.
    fn interface(&self) -> u32;
}
