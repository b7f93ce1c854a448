//! `[upload]`, `[download]` and `[memory]`: how much, how fast, and how long.

use std::time::Duration;

use super::body::Allowance;
use super::budget::MIN_BUDGET;
use crate::config::load::Faults;
use crate::config::value::{Format, Own, Plain, Raw, Size, Time, or_unlimited, show_bytes};
use crate::section;

section! {
    /// `[upload]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct UploadConfig in "upload" {
        /// Largest file: "unlimited", or a size such as "25MiB".
        max_file_bytes: Option<u64> = None => or_unlimited(Size),
        /// All files together: "unlimited", or a size.
        total_bytes: Option<u64> = None => or_unlimited(Size),
        /// Size of a block, and with it of the buffers of an upload.
        block_bytes: u64 = 8 * 1024 * 1024 => Size,
        /// How many blocks of one upload are on their way at a time.
        concurrency: usize = 2 => Plain("a number"),
        /// How long one upload may take.
        timeout: Allowance = Allowance { base: Duration::from_secs(5 * 60), rate: 64 * 1024 } => Own,
        /// How long a sender may send nothing.
        idle_timeout: Duration = Duration::from_secs(60) => Time,
        /// How long an upload of several requests may lie unfinished after its last one; at most 6 days.
        partial_lifetime: Duration = Duration::from_secs(24 * 60 * 60) => Time,
        /// How long the URL of such an upload still says that all of it came, after it has become an attachment.
        remember_completed: Duration = Duration::from_secs(10 * 60) => Time,
        /// Compute and store MD5, for tools that check it (azcopy, rclone): true, false, or "auto", which is of files that are not longer
        /// than block_bytes; Azure computes it by itself. Of longer ones it would be half of the CPU of their upload. SHA-256 and CRC-64
        /// are always there.
        md5: Md5 = Md5::Auto => Md5Word,
    }
}

/// Of which files MD5 is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Md5 {
    /// Of those that are not longer than `upload.block_bytes`.
    Auto,
    /// Of all.
    Always,
    /// Of those alone of which a client says it.
    Never,
}

struct Md5Word;

impl Format<Md5> for Md5Word {
    fn read(&self, raw: &Raw) -> Result<Md5, String> {
        match raw.text()?.trim() {
            "auto" => Ok(Md5::Auto),
            "true" => Ok(Md5::Always),
            "false" => Ok(Md5::Never),
            other => Err(format!(
                "is \"{other}\", but must be \"auto\", true or false"
            )),
        }
    }

    fn show(&self, value: &Md5) -> Option<String> {
        Some(match value {
            Md5::Auto => "\"auto\"".to_owned(),
            Md5::Always => "true".to_owned(),
            Md5::Never => "false".to_owned(),
        })
    }
}

section! {
    /// `[download]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DownloadConfig in "download" {
        /// How long the store may send nothing and a client may take nothing. After a sixth of it, in which a client took nothing, the request to the
        /// store is let go of; what is left is asked for when the client goes on.
        idle_timeout: Duration = Duration::from_secs(60) => Time,
        /// How long one download may take.
        timeout: Allowance = Allowance { base: Duration::from_secs(10 * 60), rate: 64 * 1024 } => Own,
        /// Check whole-object reads against the stored CRC-64 as they pass. A file of local disk that was found right, and that nobody has
        /// written to since, is believed for ten minutes, and sent by the kernel.
        verify: bool = true => Plain("true or false"),
    }
}

section! {
    /// `[memory]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MemoryConfig in "memory" {
        /// All buffers of all transfers together. A transfer that finds none waits, then gets 503.
        transfer_bytes: u64 = 256 * 1024 * 1024 => Size,
    }
}

/// Largest block: the largest that any store takes (Azure, <https://learn.microsoft.com/rest/api/storageservices/put-block>).
/// A store whose own limit is smaller gets smaller ones.
const MAX_BLOCK_BYTES: u64 = 4000 * 1024 * 1024;

/// Longest life of an upload of several requests. Azure forgets blocks a week after the last of them
/// (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>), and sweeps need some time.
const MAX_PARTIAL_LIFETIME: Duration = Duration::from_secs(6 * 24 * 60 * 60);

impl UploadConfig {
    /// The longest file of which MD5 is computed; 0 for none. `by_store`: the store does that by itself, of a file of one block.
    pub(crate) fn md5_up_to(&self, by_store: bool) -> u64 {
        match self.md5 {
            Md5::Auto if by_store => 0,
            Md5::Auto => self.block_bytes,
            Md5::Always => u64::MAX,
            Md5::Never => 0,
        }
    }

    pub(crate) fn check(&self, faults: &mut Faults) {
        if !(64 * 1024..=MAX_BLOCK_BYTES).contains(&self.block_bytes) {
            faults.add("upload.block_bytes must be between 64KiB and 4000MiB");
        }
        if !(1..=64).contains(&self.concurrency) {
            faults.add("upload.concurrency must be between 1 and 64");
        }
        if !(Duration::from_secs(60)..=MAX_PARTIAL_LIFETIME).contains(&self.partial_lifetime) {
            faults.add("upload.partial_lifetime must be between 1m and 6d");
        }
        if self.remember_completed > MAX_PARTIAL_LIFETIME {
            faults.add("upload.remember_completed must be at most 6d");
        }
        if self.max_file_bytes == Some(0) {
            faults.add("upload.max_file_bytes is 0, which refuses every file; set \"unlimited\" for no limit");
        }
    }
}

impl MemoryConfig {
    pub(crate) fn check(&self, faults: &mut Faults) {
        if self.transfer_bytes < MIN_BUDGET {
            faults.add(format!(
                "memory.transfer_bytes must be at least {}",
                show_bytes(MIN_BUDGET)
            ));
        }
    }
}
