//! Shared by the tests.

pub mod lab;
pub mod vector;
