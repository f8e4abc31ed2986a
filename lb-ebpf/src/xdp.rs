//! A frame in an XDP program, as lb-common's [`Packet`].

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_csum_diff, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{Action, Packet, wire::checksum::Sum};

/// The frame of one run of an XDP program.
pub struct XdpPacket {
    context: XdpContext,
}

impl XdpPacket {
    /// The frame behind a program's context.
    #[inline(always)]
    pub fn new(context: XdpContext) -> Self {
        Self { context }
    }

    /// The program's context, for logging.
    #[inline(always)]
    pub fn context(&self) -> &XdpContext {
        &self.context
    }

    /// The frame's first byte.
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the context is the one that the kernel gave to this run. Volatile, because LLVM
        // would otherwise keep the value as a 32-bit number, which the verifier no longer takes
        // for a packet pointer.
        unsafe { (&raw const (*self.context.ctx).data).read_volatile() as usize }
    }

    /// One past the frame's last byte.
    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as for `start`.
        unsafe { (&raw const (*self.context.ctx).data_end).read_volatile() as usize }
    }

    /// The address of `N` bytes at `offset`, if they are all inside the frame.
    #[inline(always)]
    pub(crate) fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        // The verifier wants a bound on what is added to a packet pointer.
        if offset > MOST {
            return None;
        }
        let start = self.start() + offset;
        if start + N > self.end() {
            return None;
        }
        Some(start as *mut [u8; N])
    }
}

/// The largest offset that the pipeline has use for: two tags, 60 bytes of IP, an ICMP quote.
const MOST: usize = 1023;

impl Packet for XdpPacket {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` has checked that the bytes are inside the frame, and byte arrays have no
        // alignment; nobody else writes the frame while the program runs.
        self.at::<N>(offset).map(|bytes| unsafe { bytes.read() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> bool {
        match self.at::<N>(offset) {
            Some(target) => {
                // SAFETY: as in `load`; XDP may write the frame.
                unsafe { target.write(*bytes) };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        let bytes = self.at::<N>(offset)?;
        // SAFETY: as in `load` and `store`; the reference ends before the frame's head or tail moves. No
        // frame is at address 0: without this LLVM tests it, as an `Option` of a reference is null.
        unsafe {
            core::hint::assert_unchecked(!bytes.is_null());
            Some(&mut *bytes)
        }
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, offset: usize) -> Option<Sum> {
        let bytes = self.at::<N>(offset)?;
        // SAFETY: `at` has checked that the bytes are inside the frame; the helper reads them. It
        // takes multiples of 4 up to 512.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), N as u32, 0) };
        (sum >= 0).then_some(Sum::ZERO.word32(sum as u32))
    }

    #[inline(always)]
    fn len(&self) -> usize {
        let mut length = self.end();
        // SAFETY: one subtraction of registers. In assembly, because LLVM would narrow it to 32
        // bits where only that much of the result is used, and the verifier allows pointer
        // arithmetic in 64 bits only.
        #[cfg(target_arch = "bpf")]
        unsafe {
            core::arch::asm!(
                "{length} -= {start}",
                length = inout(reg) length,
                start = in(reg) self.start(),
                options(pure, nomem, nostack),
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            length -= self.start();
        }
        length
    }

    #[inline(always)]
    fn move_head(&mut self, bytes: i32) -> bool {
        // SAFETY: the context is the one that the kernel gave to this run.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, -bytes) == 0 }
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> bool {
        let cut = self.len() as i32 - length as i32;
        // SAFETY: the context is the one that the kernel gave to this run.
        unsafe { bpf_xdp_adjust_tail(self.context.ctx, -cut) == 0 }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }
}

/// The number that the kernel wants for an action.
#[inline(always)]
pub fn action(action: Action) -> u32 {
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_TX,
        // SAFETY: the helper takes two numbers and keeps nothing.
        Action::Redirect(interface) => unsafe { bpf_redirect(interface, 0) as u32 },
    }
}
