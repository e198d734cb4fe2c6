//! How much memory which ring gets: a total budget, split over classes and CPUs.

use collector_common::Class;
use std::fmt;

/// Smallest ring: what the largest record needs, rounded up to a power of two.
pub const RING_BYTES_MIN: u64 = 32 * 1024;
/// Largest ring; the kernel's own limit on 64-bit machines is higher.
pub const RING_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Default budget for all rings.
pub const RING_MEMORY_DEFAULT: u64 = 32 * 1024 * 1024;

/// A CPU's ring by default, if the budget allows it.
const fn preferred_bytes(class: Class) -> u64 {
    match class {
        Class::Process => 1024 * 1024,
        Class::Network => 512 * 1024,
        Class::File => 4 * 1024 * 1024,
    }
}

/// Sizes that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RingOptions {
    /// Bytes of each ring of a class; overrides the budget.
    pub sizes: Vec<(Class, u64)>,
    /// Total budget in bytes for the classes that have no size of their own.
    pub memory: Option<u64>,
}

/// The rings of one class: `count` rings of `bytes` each; CPU n fills ring n modulo `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPlan {
    /// The class.
    pub class: Class,
    /// Bytes of a ring, a power of two.
    pub bytes: u64,
    /// Number of rings.
    pub count: usize,
}

/// A budget too small for one ring of the smallest size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetTooSmall {
    /// The class that would have none.
    pub class: Class,
    /// Its share of the budget.
    pub share: u64,
}

impl fmt::Display for BudgetTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, share } = self;
        let class = class.name();
        write!(
            f,
            "the ring memory leaves {share} bytes for class {class}; give it at least {RING_BYTES_MIN}, the smallest ring"
        )
    }
}

impl std::error::Error for BudgetTooSmall {}

impl RingPlan {
    /// Splits the budget. Where it does not give every CPU a ring of the smallest size, CPUs share rings.
    ///
    /// # Errors
    /// If a class would get no ring at all.
    pub fn all(classes: &[Class], cpus: usize, options: &RingOptions) -> Result<Vec<Self>, BudgetTooSmall> {
        let cpus = cpus.max(1);
        let budget = options.memory.unwrap_or(RING_MEMORY_DEFAULT);
        let sized = |class| options.sizes.iter().rev().find(|(of, _)| *of == class).map(|(_, bytes)| *bytes);
        let preferred: u64 = classes
            .iter()
            .filter(|&&class| sized(class).is_none())
            .map(|&class| preferred_bytes(class))
            .sum();
        classes
            .iter()
            .map(|&class| {
                if let Some(bytes) = sized(class) {
                    return Ok(Self { class, bytes, count: cpus });
                }
                // In 128 bits, so that neither the product overflows nor a small budget is rounded to nothing.
                let share = u128::from(budget) * u128::from(preferred_bytes(class)) / u128::from(preferred);
                Self::within(class, cpus, u64::try_from(share).expect("a share is at most the budget"))
            })
            .collect()
    }

    fn within(class: Class, cpus: usize, share: u64) -> Result<Self, BudgetTooSmall> {
        let each = floor_power_of_two(share / cpus as u64).min(preferred_bytes(class));
        if each >= RING_BYTES_MIN {
            return Ok(Self { class, bytes: each, count: cpus });
        }
        match usize::try_from(share / RING_BYTES_MIN) {
            Ok(count @ 1..) => Ok(Self { class, bytes: RING_BYTES_MIN, count: count.min(cpus) }),
            _ => Err(BudgetTooSmall { class, share }),
        }
    }
}

fn floor_power_of_two(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { 1 << bytes.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cpus: usize, memory: u64) -> Result<RingPlan, BudgetTooSmall> {
        let options = RingOptions { sizes: Vec::new(), memory: Some(memory) };
        RingPlan::all(&[Class::Process], cpus, &options).map(|plans| plans[0])
    }

    #[test]
    fn every_cpu_gets_its_preferred_ring_while_the_budget_lasts() {
        let plan = plan(2, RING_MEMORY_DEFAULT).unwrap();
        assert_eq!((plan.bytes, plan.count), (1024 * 1024, 2));
    }

    #[test]
    fn many_cpus_stay_within_the_default_budget() {
        for cpus in [1, 2, 31, 32, 33, 128, 1024, 8192] {
            let plan = plan(cpus, RING_MEMORY_DEFAULT).unwrap();
            assert!(plan.bytes * plan.count as u64 <= RING_MEMORY_DEFAULT, "{cpus} CPUs: {plan:?}");
            assert!(plan.bytes.is_power_of_two() && plan.bytes >= RING_BYTES_MIN);
        }
    }

    #[test]
    fn small_budget_is_shared_between_cpus_and_too_small_is_refused() {
        let shared = plan(8, 4 * RING_BYTES_MIN).unwrap();
        assert_eq!((shared.bytes, shared.count), (RING_BYTES_MIN, 4));
        assert!(plan(8, RING_BYTES_MIN - 1).is_err());
    }

    #[test]
    fn the_whole_budget_is_shared_out() {
        let between = plan(1, RING_MEMORY_DEFAULT / 64 + RING_BYTES_MIN).unwrap();
        assert_eq!((between.bytes, between.count), (512 * 1024, 1));
        let largest = plan(2, u64::MAX).unwrap();
        assert_eq!((largest.bytes, largest.count), (1024 * 1024, 2));
    }

    #[test]
    fn a_size_of_its_own_overrides_the_budget() {
        let options = RingOptions { sizes: vec![(Class::Process, 65536)], memory: Some(0) };
        let plans = RingPlan::all(&[Class::Process], 4, &options).unwrap();
        assert_eq!((plans[0].bytes, plans[0].count), (65536, 4));
    }
}
