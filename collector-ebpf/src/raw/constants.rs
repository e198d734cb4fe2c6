//! What userspace decides before the load. Single values are operands of instructions, which cost no memory access: after
//! a fork or an exec each cache line of a table is a cold one. Tables of filters, walked by index, are frozen data.

use collector_common::{CONSTANT_OPERAND, Filters, Span};
use core::arch::asm;
use core::hint::assert_unchecked;
use core::mem::offset_of;
use core::ptr::read_volatile;

/// Userspace writes it before the load and freezes it.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static FILTERS: Filters = Filters::NONE;

/// The tables of filters.
pub(crate) fn filters() -> &'static Filters {
    &FILTERS
}

/// One word of the tables. The compiler must not believe the value in the object file.
#[inline(always)]
pub(crate) fn entry(value: &'static u32) -> u32 {
    // SAFETY: a reference to a static u32 is readable and aligned.
    unsafe { read_volatile(value) }
}

/// The value of a field of [`collector_common::Config`]: `constant!(offsets.task_mm)`.
macro_rules! constant {
    ($($field:ident).+) => {
        $crate::raw::operand::<{ core::mem::offset_of!(collector_common::Config, $($field).+) }>()
    };
}
pub(crate) use constant;

/// A field of [`collector_common::Spans`], for [`super::Reader::span`]: `span!(cred)`.
macro_rules! span {
    ($field:ident) => {
        $crate::raw::SpanAt::<{ core::mem::offset_of!(collector_common::Config, spans.$field) }>
    };
}
pub(crate) use span;

/// The [`Span`] at `AT` in the configuration.
#[derive(Clone, Copy)]
pub(crate) struct SpanAt<const AT: usize>;

impl<const AT: usize> SpanAt<AT> {
    #[inline(always)]
    pub(super) fn start(self) -> u64 {
        word::<AT, { offset_of!(Span, start) }>()
    }

    #[inline(always)]
    pub(super) fn bytes(self) -> u64 {
        word::<AT, { offset_of!(Span, bytes) }>()
    }
}

/// The word at `AT` in the configuration. Userspace gives the instruction the value as its operand.
///
/// Not `pure`: where the value is needed again, to have it again costs less than to keep it.
#[inline(always)]
pub(crate) fn operand<const AT: usize>() -> u32 {
    word::<AT, 0>() as u32
}

/// The word at `AT + FIELD`.
#[inline(always)]
fn word<const AT: usize, const FIELD: usize>() -> u64 {
    let value: u64;
    // SAFETY: the instruction writes its register alone. Userspace makes it one that clears the upper half.
    unsafe {
        asm!("{value} = {operand}", value = out(reg) value, operand = const CONSTANT_OPERAND as usize + AT + FIELD, options(nomem, nostack));
        assert_unchecked(value <= u32::MAX as u64);
    }
    value
}
