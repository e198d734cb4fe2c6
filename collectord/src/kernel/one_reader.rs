//! One reader for a set of rings. Two would each take records that the other then misses: both would tell losses that
//! are none, and the books of both would be wrong.
//!
//! The lock is ownership: the rings are moved to whoever takes them, and are never given again, also when that reader
//! has ended, since what it had read and not told would be missing.

use collector_common::Class;

/// Why a class's rings cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRings {
    /// They have their reader.
    #[error("the rings of class {} have a reader, and a second one is refused", .0.name())]
    Taken(Class),
    /// The class was not asked for.
    #[error("there are no rings of class {}: it was not asked for", .0.name())]
    NotMade(Class),
}

/// The rings of each class, until their reader takes them.
#[derive(Debug)]
pub(super) struct OneReader<R>(Vec<(Class, Option<R>)>);

impl<R> Default for OneReader<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R> OneReader<R> {
    /// Puts the rings of a class there, once.
    pub(super) fn put(&mut self, class: Class, rings: R) {
        debug_assert!(self.0.iter().all(|(of, _)| *of != class), "a class has one set of rings");
        self.0.push((class, Some(rings)));
    }

    /// Gives the rings to the one reader.
    pub(super) fn take(&mut self, class: Class) -> Result<R, NoRings> {
        let set = self.0.iter_mut().find(|(of, _)| *of == class);
        set.ok_or(NoRings::NotMade(class))?.1.take().ok_or(NoRings::Taken(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_reader_is_refused_by_the_name_of_its_class() {
        let mut rings = OneReader::default();
        rings.put(Class::Process, "rings");
        rings.put(Class::File, "others");
        assert_eq!(rings.take(Class::Process), Ok("rings"));
        for _ in 0..2 {
            let refused = rings.take(Class::Process).unwrap_err();
            assert_eq!(refused, NoRings::Taken(Class::Process));
            assert!(refused.to_string().contains("class process have a reader"), "{refused}");
        }
        assert_eq!(rings.take(Class::File), Ok("others"), "each class has its own");
    }

    #[test]
    fn rings_that_were_never_made_are_not_empty_but_refused() {
        let mut rings = OneReader::<()>::default();
        assert_eq!(rings.take(Class::Network), Err(NoRings::NotMade(Class::Network)));
    }
}
