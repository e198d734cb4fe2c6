//! The contract between the kernel programs and userspace.
#![no_std]
#![forbid(unsafe_code)]
