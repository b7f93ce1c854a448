//! Whether all bytes that pass are UTF-8, however they are cut.

/// Looks at bytes as they pass. Holds at most three of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Utf8Check {
    /// The beginning of a character whose end has not come.
    open: [u8; 4],
    open_length: usize,
    /// The last two bytes, which may begin an escape sequence.
    last: [u8; 2],
    invalid: bool,
    beyond_ascii: bool,
    escapes: bool,
}

impl Utf8Check {
    /// What it knows so far, for [`from_bytes`](Self::from_bytes).
    pub(crate) fn to_bytes(&self) -> [u8; 8] {
        let [a, b, c, d] = self.open;
        let [before, last] = self.last;
        let length = u8::try_from(self.open_length).unwrap_or_default();
        let flags = [self.invalid, self.beyond_ascii, self.escapes];
        let flags = flags
            .iter()
            .fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        [a, b, c, d, length, before, last, flags]
    }

    /// Goes on where another one has stopped.
    pub(crate) fn from_bytes([a, b, c, d, length, before, last, flags]: [u8; 8]) -> Self {
        Self {
            open: [a, b, c, d],
            // A whole character is never open.
            open_length: usize::from(length).min(3),
            last: [before, last],
            invalid: flags & 4 != 0,
            beyond_ascii: flags & 2 != 0,
            escapes: flags & 1 != 0,
        }
    }

    /// The next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if self.invalid {
            return;
        }
        if !self.beyond_ascii && !self.escapes {
            self.escapes = self.has_escape(bytes);
        }
        // The character that was cut, a byte at a time.
        while self.open_length > 0 {
            let Some((next, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.open[self.open_length] = *next;
            self.open_length += 1;
            match std::str::from_utf8(&self.open[..self.open_length]) {
                Ok(_) => self.open_length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => {
                    self.invalid = true;
                    return;
                }
            }
        }
        self.beyond_ascii |= !bytes.is_ascii();
        if let Err(error) = std::str::from_utf8(bytes) {
            match error.error_len() {
                None => {
                    let cut = &bytes[error.valid_up_to()..];
                    self.open[..cut.len()].copy_from_slice(cut);
                    self.open_length = cut.len();
                }
                Some(_) => self.invalid = true,
            }
        }
    }

    /// Whether all of it was UTF-8.
    ///
    /// ISO-2022-JP is ASCII to the letter and is not taken for it: its escape sequences (RFC 1468) mean nothing in a text
    /// that is ASCII otherwise.
    pub(crate) fn finish(self) -> bool {
        !self.invalid && self.open_length == 0 && (self.beyond_ascii || !self.escapes)
    }

    /// Whether an escape to two-byte characters ends in `bytes`.
    fn has_escape(&mut self, bytes: &[u8]) -> bool {
        let escape = |three: &[u8]| matches!(three, [0x1B, b'$', b'@' | b'B']);
        let [before, last] = self.last;
        let head = [&[before, last][..], &bytes[..bytes.len().min(2)]].concat();
        let found = head.windows(3).any(escape)
            // Looked for first as fast as memory goes: nearly no text has one.
            || (bytes.contains(&0x1B) && bytes.windows(3).any(escape));
        self.last = match bytes {
            [.., before, last] => [*before, *last],
            [one] => [last, *one],
            [] => self.last,
        };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> bool {
        let mut check = Utf8Check::default();
        for piece in pieces {
            check.update(piece);
        }
        check.finish()
    }

    proptest::proptest! {
        #[test]
        fn it_is_what_the_standard_library_says_of_the_whole(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            text in "[a-zé写\u{1F980}]{0,20}",
            cut in 1_usize..7,
        ) {
            for whole in [bytes, text.into_bytes()] {
                let pieces: Vec<&[u8]> = whole.chunks(cut).collect();
                let escaped = whole.is_ascii() && whole.windows(3).any(|w| matches!(w, b"\x1B$B" | b"\x1B$@"));
                let wanted = std::str::from_utf8(&whole).is_ok() && !escaped;
                proptest::prop_assert_eq!(check(&pieces), wanted, "{:?}", whole);
            }
        }
    }

    #[test]
    fn iso_2022_jp_is_not_ascii_wherever_it_is_cut() {
        let whole = b"plain \x1B$B$3$l\x1B(B and so on";
        for cut in 1..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert!(!check(&[left, right]), "{cut}");
        }
        assert!(check(&[b"\x1B[32mOK\x1B[0m"]));
        assert!(
            check(&["写 \x1B$B".as_bytes()]),
            "text about escapes, in UTF-8"
        );
    }

    #[test]
    fn a_character_without_its_end_is_not_utf8() {
        assert!(!check(&["写".as_bytes(), &"写".as_bytes()[..2]]));
        assert!(check(&[]));
    }
}
