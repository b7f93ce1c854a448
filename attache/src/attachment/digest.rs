//! Digests and other bytes that are written in hexadecimal.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A digest of `N` bytes, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // As many bytes at a time as most digests have, and not a formatter for each.
        for bytes in self.0.chunks(32) {
            let mut text = [0; 64];
            for (byte, two) in bytes.iter().zip(text.chunks_exact_mut(2)) {
                two[0] = DIGITS[usize::from(byte >> 4)];
                two[1] = DIGITS[usize::from(byte & 15)];
            }
            let text = &text[..bytes.len() * 2];
            f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::bad_request(format!("expected {} hexadecimal digits", N * 2));
        if text.len() != N * 2 {
            return Err(wrong());
        }
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        let mut bytes = [0; N];
        for (byte, two) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(two[0]), digit(two[1])) else {
                return Err(wrong());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips() {
        let hex = Hex([0x0f, 0xa0]);
        assert_eq!(hex.to_string(), "0fa0");
        let long = Hex::<70>(std::array::from_fn(|i| i as u8));
        let text = long.to_string();
        assert!(
            text.starts_with("000102") && text.ends_with("434445"),
            "{text}"
        );
        assert_eq!(text.parse::<Hex<70>>().expect("parses"), long);
        assert_eq!("0fa0".parse::<Hex<2>>().expect("parses"), hex);
        assert!("0fa".parse::<Hex<2>>().is_err());
        assert!(
            "+f+a".parse::<Hex<2>>().is_err(),
            "a number may have a sign, a digit not"
        );
        assert!("zzzz".parse::<Hex<2>>().is_err());
    }
}
