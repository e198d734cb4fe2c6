//! What the tests share.
//!
//! [`stream`] holds a stream of native events against the format's rules. It shares no code with the daemon, so that
//! one misunderstanding cannot stand on both sides. It knows form, numbering and sums; whether an event is true is
//! for the kernel tests, which compare with an actor's own account.
#![forbid(unsafe_code)]

pub mod stream;
