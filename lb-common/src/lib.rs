//! Packet logic and map types shared by the kernel and userspace sides.
