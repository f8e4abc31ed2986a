//! Shared by the tests.

pub mod vector;
