//! Digests and other bytes that are written in hexadecimal.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A digest of `N` bytes, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Many digits at a time: a page of a listing has thousands, and the formatter of numbers makes each by itself.
        let mut digits = [0; 64];
        for bytes in self.0.chunks(digits.len() / 2) {
            for (two, byte) in digits.chunks_exact_mut(2).zip(bytes) {
                two[0] = DIGITS[usize::from(byte >> 4)];
                two[1] = DIGITS[usize::from(byte & 0xf)];
            }
            let digits = std::str::from_utf8(&digits[..bytes.len() * 2]);
            f.write_str(digits.map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

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
        let long = Hex(std::array::from_fn::<u8, 256, _>(|byte| byte as u8));
        let each: String = long.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(long.to_string(), each);
        assert_eq!("0fa0".parse::<Hex<2>>().expect("parses"), hex);
        assert!("0fa".parse::<Hex<2>>().is_err());
        assert!(
            "+f+a".parse::<Hex<2>>().is_err(),
            "a number may have a sign, a digit not"
        );
        assert!("zzzz".parse::<Hex<2>>().is_err());
    }
}
