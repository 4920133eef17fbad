//! What the integration tests share. A test file names it with `mod support;`.
#![allow(dead_code)] // every test file uses another part of it

pub mod consul;
