//! `cargo xtask`: set-up, kernel object, tests and CI.
#![forbid(unsafe_code)]

fn main() {}
