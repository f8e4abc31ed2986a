//! The one module that talks netlink.
