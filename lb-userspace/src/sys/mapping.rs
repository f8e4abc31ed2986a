//! A BPF map's values in this process's memory, as words that the kernel side changes as well.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a map made with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only accessed atomically.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `words` words of a map's values.
    ///
    /// # Errors
    /// What mmap(2) says: the map is smaller, or was not made for mapping.
    pub fn map(map: impl AsFd, words: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(words * size_of::<u64>())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice aliases no Rust object.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )
        }?;
        Ok(Self { start: start.cast(), words })
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words` words long, lives as long as `self`, and is
        // shared with the kernel side only, which writes it in aligned words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// Reads the word at `index`.
    pub fn load(&self, index: usize) -> u64 {
        self.words()[index].load(Ordering::Acquire)
    }

    /// Writes the word at `index`.
    pub fn store(&self, index: usize, word: u64) {
        self.words()[index].store(word, Ordering::Release);
    }

    /// Replaces the word at `index` if it is still `old`; whether it was.
    pub fn replace(&self, index: usize, old: u64, new: u64) -> bool {
        self.words()[index].compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Reads a value of `N` words.
    pub fn read<const N: usize>(&self, index: usize) -> [u64; N] {
        std::array::from_fn(|word| self.load(index * N + word))
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: `start` and the length are those of the mapping, and no reference outlives it.
        let unmapped = unsafe { munmap(self.start.cast(), self.words * size_of::<u64>()) };
        debug_assert!(unmapped.is_ok());
    }
}
