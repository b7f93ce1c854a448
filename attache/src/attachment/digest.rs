//! Digests and other bytes that are written in hexadecimal.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A digest of `N` bytes, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        if text.len() != N * 2 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).map_err(|_| wrong())?;
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
        assert_eq!("0fa0".parse::<Hex<2>>().expect("parses"), hex);
        assert!("0fa".parse::<Hex<2>>().is_err());
        assert!(
            "+f+a".parse::<Hex<2>>().is_err(),
            "a number may have a sign, a digit not"
        );
        assert!("zzzz".parse::<Hex<2>>().is_err());
    }
}
