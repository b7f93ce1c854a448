//! What parts make, when an upload is completed.

use super::facts::Facts;
use super::{KeptChecksum, Key, NamedPart, WholeChecksum, bad_part};
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::checksum::Checksum;

/// # Errors
///
/// [`BadRequest`](crate::ErrorKind::BadRequest) if these are no parts to make an object of.
pub(crate) fn check_order(key: &Key, named: &[NamedPart]) -> Result<()> {
    let ascending = named.is_sorted_by(|one, next| one.number < next.number);
    match !named.is_empty() && ascending {
        true => Ok(()),
        false => Err(Error::bad_request(
            "an upload is completed with one part at least, in ascending order of their numbers",
        )
        .during("complete", key.as_str())),
    }
}

/// What the parts that are named make. `stored`: length, entity tag and checksum, as far as it is known, of such a part; `None` if it was
/// not stored, or with another checksum than the one that is named.
///
/// # Errors
///
/// [`BadPart`](crate::ErrorKind::BadPart); [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
pub(crate) fn facts_of_parts(
    key: &Key,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    stored: impl Fn(&NamedPart) -> Option<(u64, String, Option<Checksum>)>,
) -> Result<Facts> {
    let (mut sums, mut size) = (Vec::new(), 0_u64);
    for part in named {
        let bad = || bad_part(key, part.number);
        let (bytes, etag, known) = stored(part).ok_or_else(bad)?;
        if etag != part.etag {
            return Err(bad());
        }
        sums.push((known, bytes));
        size += bytes;
    }
    let kept = match checksum {
        Some(wanted) => checksum_of_parts(wanted, &sums)?,
        None => None,
    };
    let crc64 = match kept {
        Some(kept) if kept.parts.is_none() => match kept.checksum {
            Checksum::Crc64Nvme(crc) => Some(crc),
            _ => None,
        },
        _ => None,
    };
    let etag = etag_of_parts(named.iter().map(|part| part.etag.as_str()));
    Ok(Facts {
        size,
        etag: etag.ok_or_else(|| Error::internal("a part without MD5"))?,
        checksum: kept,
        crc64,
    })
}

/// The entity tag of an object that was made of parts with these tags: the MD5 of their MD5s, `-`, and their number. `None` if one is no
/// MD5.
pub fn etag_of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    use md5::{Digest as _, Md5};
    let mut whole = Md5::new();
    let mut count = 0_u32;
    for part in parts {
        let md5: crate::attachment::Hex<16> = part.parse().ok()?;
        whole.update(md5.0);
        count += 1;
    }
    let whole: [u8; 16] = whole.finalize().into();
    Some(format!("{}-{count}", crate::attachment::Hex(whole)))
}

/// The checksum of an object that is made of `parts`: `None` if that of one of them is not known, or they do not combine.
///
/// # Errors
///
/// [`DigestMismatch`](ErrorKind::DigestMismatch) if it is not the one that was expected.
pub(crate) fn checksum_of_parts(
    wanted: WholeChecksum,
    parts: &[(Option<Checksum>, u64)],
) -> Result<Option<KeptChecksum>> {
    let known: Option<Vec<(Checksum, u64)>> = parts
        .iter()
        .map(|(checksum, bytes)| Some((checksum.filter(|sum| sum.kind() == wanted.kind)?, *bytes)))
        .collect();
    let Some(known) = known else { return Ok(None) };
    let checksum = match wanted.full {
        true => {
            let mut known = known.into_iter();
            let first = known.next().map(|(checksum, _)| checksum);
            known
                .try_fold(first, |whole, (next, bytes)| {
                    whole.map(|whole| whole.followed_by(next, bytes))
                })
                .flatten()
        }
        false => wanted
            .kind
            .composite(known.into_iter().map(|(checksum, _)| checksum)),
    };
    if let (Some(got), Some(want)) = (checksum, wanted.expected)
        && got != want
    {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "{} of the whole is {got}, and {want} was expected",
                wanted.kind.as_str()
            ),
        ));
    }
    let count = (!wanted.full).then(|| u16::try_from(parts.len()).unwrap_or(u16::MAX));
    Ok(checksum.map(|checksum| KeptChecksum {
        checksum,
        parts: count,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::checksum::ChecksumKind;

    #[test]
    fn the_tag_of_parts_is_the_md5_of_their_md5s() {
        // By `printf hello | openssl md5 -binary`, twice, and `| md5sum`.
        let hello = "5d41402abc4b2a76b9719d911017c592";
        assert_eq!(
            etag_of_parts([hello, hello]).as_deref(),
            Some("616b22817b80eed9f65c3aa38cd29054-2")
        );
        assert_eq!(etag_of_parts(["0x8D00"]), None);
    }

    #[test]
    fn the_checksum_of_a_whole_is_that_of_its_bytes_or_of_its_parts() {
        // Of "1234" and "56789"; the whole has the check value of CRC-32.
        let parts = [
            (Some(Checksum::Crc32(0x9BE3_E0A3)), 4),
            (Some(Checksum::Crc32(0x131DA070)), 5),
        ];
        let wanted = |full, expected| WholeChecksum {
            kind: ChecksumKind::Crc32,
            full,
            expected,
        };
        let of = |wanted| checksum_of_parts(wanted, &parts).expect("as expected");
        let full = of(wanted(true, Some(Checksum::Crc32(0xCBF4_3926))));
        assert_eq!(full.map(|kept| kept.parts), Some(None));
        let composite = of(wanted(false, None)).expect("known");
        assert_eq!(composite.parts, Some(2));
        assert_ne!(composite.checksum, Checksum::Crc32(0xCBF4_3926));
        let lie = wanted(true, Some(Checksum::Crc32(1)));
        assert!(checksum_of_parts(lie, &parts).is_err());
        assert_eq!(
            checksum_of_parts(wanted(true, None), &[(None, 1)]).expect("unknown"),
            None
        );
    }
}
