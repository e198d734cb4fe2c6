//! Texts that many lines share, as they were rendered last.

/// Texts kept; where more are in use, they take each other's place.
pub(super) const TEXTS_KEPT: usize = 32;

/// Rendered texts, each with what it was rendered from. There are few in use at a time, and one after the other is
/// compared.
#[derive(Debug)]
pub(super) struct Kept<K> {
    texts: Vec<(K, Vec<u8>)>,
    oldest: usize,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self { texts: Vec::new(), oldest: 0 }
    }
}

impl<K> Kept<K> {
    /// Writes the text whose key is the `same`. If there is none, `render` makes it, and says what it is made of.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        same: impl Fn(&K) -> bool,
        render: impl FnOnce(&mut Vec<u8>) -> K,
    ) {
        if let Some((_, text)) = self.texts.iter().find(|(key, _)| same(key)) {
            out.extend_from_slice(text);
            return;
        }
        let at = out.len();
        let key = render(out);
        let entry = (key, out[at..].to_vec());
        if self.texts.len() < TEXTS_KEPT {
            self.texts.push(entry);
        } else {
            self.texts[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % TEXTS_KEPT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::number;

    /// Writes a number, rendered anew or not; says whether it was.
    fn write(kept: &mut Kept<u64>, value: u64) -> bool {
        let (mut out, mut rendered) = (b"before ".to_vec(), false);
        kept.write(
            &mut out,
            |&key| key == value,
            |out| {
                rendered = true;
                number(out, value);
                value
            },
        );
        assert_eq!(out, format!("before {value}").as_bytes());
        rendered
    }

    #[test]
    fn each_key_has_its_own_text_and_the_oldest_makes_room() {
        let mut kept = Kept::default();
        let count = TEXTS_KEPT as u64;
        assert!((0..count).all(|value| write(&mut kept, value)));
        assert!((0..count).all(|value| !write(&mut kept, value)));
        assert!(write(&mut kept, count));
        assert!((1..=count).all(|value| !write(&mut kept, value)), "only the oldest went");
        assert!(write(&mut kept, 0));
        assert!((2..=count).all(|value| !write(&mut kept, value)), "and then the next");
        assert_eq!(kept.texts.len(), TEXTS_KEPT);
    }
}
