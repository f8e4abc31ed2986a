//! Pinned BPF links: what they are attached to, and detaching one at once. aya offers neither.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

/// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of include/uapi/linux/bpf.h.
const OBJ_GET: libc::c_int = 7;
const LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// A handle on a pinned link.
#[derive(Debug)]
pub struct LinkHandle(OwnedFd);

impl LinkHandle {
    /// Opens what is pinned at this path.
    ///
    /// # Errors
    ///
    /// What the kernel says: there is nothing, or root is needed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let attributes = ObjGet { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
        // SAFETY: the kernel reads as many bytes as `attributes` has, and the string that it points
        // to, which outlives the call.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                OBJ_GET,
                ptr::from_ref(&attributes),
                size_of::<ObjGet>() as libc::c_uint,
            )
        };
        let descriptor = i32::try_from(descriptor).unwrap_or(-1);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The index of the interface that an XDP link is attached to; none when it is attached to
    /// nothing any more, because it was detached or the interface is gone.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read, or this is no XDP link.
    pub fn interface(&self) -> io::Result<Option<u32>> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        let index = text.lines().find_map(|line| line.strip_prefix("ifindex:"));
        let index: u32 = index
            .and_then(|index| index.trim().parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an XDP link"))?;
        Ok((index != 0).then_some(index))
    }

    /// Detaches the program; when this returns, another can be attached.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn detach(&self) -> io::Result<()> {
        let attributes = LinkDetach { link: self.0.as_raw_fd().cast_unsigned() };
        // SAFETY: the kernel reads as many bytes as `attributes` has.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LINK_DETACH,
                ptr::from_ref(&attributes),
                size_of::<LinkDetach>() as libc::c_uint,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
