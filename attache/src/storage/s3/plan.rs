//! How the parts of a multipart upload are made of pieces: S3 copies a piece by itself, but no part except the last may be small
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>). Small pieces are read, and sent again as one part.

use super::staging::Piece;

/// Most bytes that one copy may have.
pub(super) const MAX_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Copied by the store.
    Copy(Piece),
    /// Sent by us: fewer bytes than two smallest parts have.
    Join(Vec<Piece>),
}

/// The parts that `pieces` make, each but the last of at least `least` bytes.
pub(super) fn parts(pieces: Vec<Piece>, least: u64) -> Vec<Made> {
    let mut parts = Vec::new();
    let (mut small, mut held) = (Vec::new(), 0);
    for mut piece in pieces.into_iter().filter(|piece| piece.size() > 0) {
        // What is missing of a part is the beginning of a piece, if what is left of that is a part by itself.
        if held > 0 && held + piece.size() >= 2 * least {
            let (beginning, rest) = piece.split(least - held);
            small.push(beginning);
            parts.push(Made::Join(std::mem::take(&mut small)));
            (piece, held) = (rest, 0);
        }
        if held == 0 && piece.size() >= least {
            while piece.size() > MAX_PART_BYTES + least {
                let (beginning, rest) = piece.split(MAX_PART_BYTES);
                parts.push(Made::Copy(beginning));
                piece = rest;
            }
            if piece.size() > MAX_PART_BYTES {
                let (beginning, rest) = piece.split(MAX_PART_BYTES - least);
                parts.push(Made::Copy(beginning));
                piece = rest;
            }
            parts.push(Made::Copy(piece));
            continue;
        }
        held += piece.size();
        small.push(piece);
        if held >= least {
            parts.push(Made::Join(std::mem::take(&mut small)));
            held = 0;
        }
    }
    if !small.is_empty() {
        parts.push(Made::Join(small));
    }
    parts
}

impl Made {
    /// How many bytes of memory it takes to make it.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Copy(_) => 0,
            Self::Join(pieces) => pieces.iter().map(Piece::size).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: u64 = 100;

    fn size(part: &Made) -> u64 {
        match part {
            Made::Copy(piece) => piece.size(),
            join @ Made::Join(_) => join.memory(),
        }
    }

    fn made(sizes: &[u64]) -> Vec<Made> {
        let pieces = sizes.iter().enumerate();
        let pieces = pieces.map(|(at, size)| Piece::whole(at.to_string(), *size));
        parts(pieces.collect(), LEAST)
    }

    #[test]
    fn large_pieces_are_copied_and_small_ones_joined() {
        assert_eq!(made(&[]), []);
        assert_eq!(made(&[0, 0]), []);
        let sizes: Vec<u64> = made(&[100, 1, 1000, 7]).iter().map(size).collect();
        assert_eq!(sizes, [100, 100, 901, 7]);
        assert!(matches!(
            made(&[100, 100])[..],
            [Made::Copy(_), Made::Copy(_)]
        ));
        let huge = made(&[MAX_PART_BYTES + 1]);
        assert_eq!(
            huge.iter().map(size).collect::<Vec<_>>(),
            [MAX_PART_BYTES - LEAST, LEAST + 1]
        );
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_part_and_in_its_order(sizes in prop::collection::vec(0_u64..350, 0..40)) {
            let parts = made(&sizes);
            let mut bytes = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(at + 1 == parts.len() || size(part) >= LEAST);
                prop_assert!(part.memory() < 2 * LEAST);
                let pieces = match part {
                    Made::Copy(piece) => std::slice::from_ref(piece),
                    Made::Join(pieces) => &pieces[..],
                };
                for piece in pieces {
                    bytes.extend((piece.range.start..piece.range.end).map(|byte| (piece.key.clone(), byte)));
                }
            }
            let expected: Vec<(String, u64)> = sizes
                .iter()
                .enumerate()
                .flat_map(|(at, size)| (0..*size).map(move |byte| (at.to_string(), byte)))
                .collect();
            prop_assert_eq!(bytes, expected);
        }
    }
}
