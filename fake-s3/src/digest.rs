//! Digests of bodies, and the headers in which clients state them.

use crc_fast::{CrcAlgorithm, Digest as Crc, checksum_combine};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;
use stand_in::answer::Fail;
use stand_in::wire::{base64_decode, base64_encode, header};

/// A checksum that a client may choose
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Its name, as in `x-amz-checksum-algorithm` and, behind `Checksum`, in XML.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(crate) const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// What the checksum of `bytes` is.
    pub(crate) fn of(self, bytes: &[u8]) -> String {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish().text(self)
    }
}

/// All digests of one body.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    pub(crate) len: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) sha256: [u8; 32],
    sha1: [u8; 20],
    pub(crate) crc64: u64,
    crc32: u32,
    pub(crate) crc32c: u32,
}

impl Digests {
    /// One of them as headers carry it: big endian, base64.
    pub(crate) fn text(&self, algorithm: Algorithm) -> String {
        match algorithm {
            Algorithm::Crc32 => base64_encode(self.crc32.to_be_bytes()),
            Algorithm::Crc32c => base64_encode(self.crc32c.to_be_bytes()),
            Algorithm::Crc64Nvme => base64_encode(self.crc64.to_be_bytes()),
            Algorithm::Sha1 => base64_encode(self.sha1),
            Algorithm::Sha256 => base64_encode(self.sha256),
        }
    }

    fn crc(&self, algorithm: Algorithm) -> Option<u64> {
        match algorithm {
            Algorithm::Crc32 => Some(self.crc32.into()),
            Algorithm::Crc32c => Some(self.crc32c.into()),
            Algorithm::Crc64Nvme => Some(self.crc64),
            Algorithm::Sha1 | Algorithm::Sha256 => None,
        }
    }

    /// Compares with what the headers, or the trailer, say of the body.
    pub(crate) fn verify(&self, headers: &HeaderMap) -> Result<(), Fail> {
        self.verify_md5(headers)?;
        for algorithm in Algorithm::ALL {
            if let Some(wanted) = header(headers, algorithm.header()) {
                expect(algorithm, wanted, &self.text(algorithm))?;
            }
        }
        let google = headers
            .get_all("x-goog-hash")
            .iter()
            .filter_map(|value| value.to_str().ok());
        for stated in google.flat_map(|text| text.split(',')) {
            let (name, wanted) = stated.trim().split_once('=').unwrap_or((stated, ""));
            let is = match name {
                "crc32c" => base64_encode(self.crc32c.to_be_bytes()),
                "md5" => base64_encode(self.md5),
                _ => {
                    return Err(Fail::new(400, "InvalidArgument", "Invalid argument.")
                        .detail("<Details>x-goog-hash</Details>"));
                }
            };
            if is != wanted {
                return Err(bad_digest(
                    &format!("The {name} you specified did not match what we received."),
                    "",
                ));
            }
        }
        Ok(())
    }

    fn verify_md5(&self, headers: &HeaderMap) -> Result<(), Fail> {
        let Some(wanted) = header(headers, "content-md5") else {
            return Ok(());
        };
        if base64_decode(wanted).is_none_or(|digest| digest.len() != 16) {
            return Err(Fail::new(
                400,
                "InvalidDigest",
                "The Content-MD5 you specified is not valid.",
            ));
        }
        let is = base64_encode(self.md5);
        if is == wanted {
            return Ok(());
        }
        let detail = format!(
            "<ExpectedDigest>{wanted}</ExpectedDigest><CalculatedDigest>{is}</CalculatedDigest>"
        );
        Err(bad_digest(
            "The Content-MD5 you specified did not match what we received.",
            &detail,
        ))
    }
}

/// Compares a checksum that a client stated with the one that is right.
pub(crate) fn expect(algorithm: Algorithm, wanted: &str, is: &str) -> Result<(), Fail> {
    if base64_decode(wanted).is_none_or(|digest| digest.len() != algorithm.bytes()) {
        let message = format!("Value for {} header is invalid.", algorithm.header());
        return Err(Fail::new(400, "InvalidRequest", &message));
    }
    if wanted == is {
        return Ok(());
    }
    let message = format!(
        "The {} you specified did not match the calculated checksum.",
        algorithm.name()
    );
    Err(bad_digest(&message, ""))
}

/// The checksum of parts one after another; none for hashes, which cannot be combined.
pub(crate) fn combined<'a>(
    algorithm: Algorithm,
    parts: impl IntoIterator<Item = &'a Digests>,
) -> Option<String> {
    let kind = algorithm.crc()?;
    let mut whole: Option<u64> = None;
    for part in parts {
        let crc = part.crc(algorithm)?;
        whole = Some(whole.map_or(crc, |whole| checksum_combine(kind, whole, crc, part.len)));
    }
    let whole = whole?;
    Some(match algorithm {
        Algorithm::Crc64Nvme => base64_encode(whole.to_be_bytes()),
        _ => base64_encode(u32::try_from(whole).ok()?.to_be_bytes()),
    })
}

/// The checksum of the checksums of parts, as S3 names it: with their number behind.
pub(crate) fn composite<'a>(
    algorithm: Algorithm,
    parts: impl IntoIterator<Item = &'a Digests>,
) -> String {
    let mut all = Vec::new();
    let mut count = 0;
    for part in parts {
        all.extend(base64_decode(&part.text(algorithm)).unwrap_or_default());
        count += 1;
    }
    format!("{}-{count}", algorithm.of(&all))
}

fn bad_digest(message: &str, detail: &str) -> Fail {
    Fail::new(400, "BadDigest", message).detail(detail)
}

/// Computes all of them while the bytes pass.
pub(crate) struct Digester {
    len: u64,
    md5: Md5,
    sha1: Sha1,
    sha256: Sha256,
    crc32: Crc,
    crc32c: Crc,
    crc64: Crc,
}

impl Digester {
    pub(crate) fn new() -> Self {
        Self {
            len: 0,
            md5: Md5::new(),
            sha1: Sha1::new(),
            sha256: Sha256::new(),
            crc32: Crc::new(CrcAlgorithm::Crc32IsoHdlc),
            crc32c: Crc::new(CrcAlgorithm::Crc32Iscsi),
            crc64: Crc::new(CrcAlgorithm::Crc64Nvme),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.md5.update(bytes);
        self.sha1.update(bytes);
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        self.crc32c.update(bytes);
        self.crc64.update(bytes);
    }

    pub(crate) fn finish(self) -> Digests {
        Digests {
            len: self.len,
            md5: self.md5.finalize().into(),
            sha1: self.sha1.finalize().into(),
            sha256: self.sha256.finalize().into(),
            crc64: self.crc64.finalize(),
            // The library returns all widths in 64 bits.
            crc32: self.crc32.finalize() as u32,
            crc32c: self.crc32c.finalize() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_catalogue() {
        // The check values of the catalogue of CRC algorithms, and of RFC 1321, FIPS 180.
        let text = |algorithm: Algorithm| algorithm.of(b"123456789");
        assert_eq!(
            text(Algorithm::Crc32),
            base64_encode(0xCBF4_3926_u32.to_be_bytes())
        );
        assert_eq!(
            text(Algorithm::Crc32c),
            base64_encode(0xE306_9283_u32.to_be_bytes())
        );
        assert_eq!(
            text(Algorithm::Crc64Nvme),
            base64_encode(0xAE8B_1486_0A79_9888_u64.to_be_bytes())
        );
        assert_eq!(Algorithm::Sha1.of(b"abc"), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(
            Algorithm::Sha256.of(b"abc"),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
    }

    #[test]
    fn the_checksum_of_parts_is_that_of_the_whole() {
        let digests = |bytes: &[u8]| {
            let mut digester = Digester::new();
            digester.update(bytes);
            digester.finish()
        };
        let parts = [digests(b"1234"), digests(b"56789")];
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            assert_eq!(
                combined(algorithm, &parts),
                Some(algorithm.of(b"123456789"))
            );
        }
        assert_eq!(combined(Algorithm::Sha256, &parts), None);
    }
}
