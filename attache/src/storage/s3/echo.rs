//! Whether a store has the bytes that were sent. Some engines take a wrong digest for a right one, so what it sends back is compared, too.

use http::HeaderMap;
use http::header::ETAG;
use md5::{Digest as _, Md5};

use super::dialect::{CRC64, Dialect, bare};
use crate::attachment::Hex;

/// What an answer says of bytes that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// It names a digest of them.
    Right,
    /// It names a digest of other bytes.
    Wrong,
    /// It names none.
    Silent,
}

/// What the answer to a request with these bytes says of them.
pub(super) fn echo(dialect: Dialect, headers: &HeaderMap, bytes: &[u8], crc64: u64) -> Echo {
    if let Some(theirs) = headers.get(CRC64) {
        let ours = crate::base64::encode(crc64.to_be_bytes());
        return told(theirs.as_bytes() == ours.as_bytes());
    }
    match md5_of(dialect, headers) {
        // Computed only for stores that say nothing better: it takes longer than the others together.
        Some(theirs) => told(theirs == md5(bytes)),
        None => Echo::Silent,
    }
}

/// MD5 of bytes in memory.
pub(super) fn md5(bytes: &[u8]) -> Hex<16> {
    Hex(Md5::digest(bytes).into())
}

fn told(is_right: bool) -> Echo {
    match is_right {
        true => Echo::Right,
        false => Echo::Wrong,
    }
}

/// The MD5 that an answer names. An entity tag is one unless parts or a key of somebody's are in the way
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
pub(super) fn md5_of(dialect: Dialect, headers: &HeaderMap) -> Option<Hex<16>> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    if dialect == Dialect::Gcs {
        let hashes = headers.get_all("x-goog-hash").iter();
        let mut hashes = hashes
            .filter_map(|hash| hash.to_str().ok())
            .flat_map(|hash| hash.split(','));
        let md5 = hashes.find_map(|hash| hash.trim().strip_prefix("md5="))?;
        return Some(Hex(crate::base64::decode(md5)?.try_into().ok()?));
    }
    let other_key = text("x-amz-server-side-encryption").is_some_and(|by| by != "AES256")
        || headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
    if other_key {
        return None;
    }
    bare(headers.get(ETAG)?.to_str().ok()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::transfer::digests::crc64;

    fn heard(dialect: Dialect, headers: &[(&'static str, &str)]) -> Echo {
        let headers = headers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).expect("ASCII"),
            )
        });
        echo(dialect, &headers.collect(), b"hello", crc64(b"hello"))
    }

    #[test]
    fn a_digest_of_other_bytes_is_noticed() {
        let right = crate::base64::encode(crc64(b"hello").to_be_bytes());
        let wrong = crate::base64::encode(crc64(b"hallo").to_be_bytes());
        assert_eq!(
            heard(Dialect::S3, &[("x-amz-checksum-crc64nvme", &right)]),
            Echo::Right
        );
        assert_eq!(
            heard(Dialect::S3, &[("x-amz-checksum-crc64nvme", &wrong)]),
            Echo::Wrong
        );
        let tag = "\"5d41402abc4b2a76b9719d911017c592\"";
        assert_eq!(heard(Dialect::S3, &[("etag", tag)]), Echo::Right);
        assert_eq!(
            heard(
                Dialect::S3,
                &[("etag", "\"00000000000000000000000000000000\"")]
            ),
            Echo::Wrong
        );
        let goog = "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==";
        assert_eq!(heard(Dialect::Gcs, &[("x-goog-hash", goog)]), Echo::Right);
        assert_eq!(
            heard(
                Dialect::Gcs,
                &[("x-goog-hash", "md5=AAAAAAAAAAAAAAAAAAAAAA==")]
            ),
            Echo::Wrong
        );
    }

    #[test]
    fn what_is_no_digest_says_nothing() {
        let tag = "\"00000000000000000000000000000000\"";
        for headers in [
            &[][..],
            &[("etag", "\"00000000000000000000000000000000-2\"")],
            &[("etag", tag), ("x-amz-server-side-encryption", "aws:kms")],
        ] {
            assert_eq!(heard(Dialect::S3, headers), Echo::Silent);
        }
    }
}
