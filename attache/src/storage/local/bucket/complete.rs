//! An object of parts: their bytes in a row, in one file.

use std::fs::File;
use std::io;

use super::found::find;
use super::layout::Layout;
use super::parts::{self, Kept};
use super::write::{Fresh, publish};
use crate::error::{ErrorKind, Result};
use crate::private;
use crate::storage::bucket::whole::checksum_of_parts;
use crate::storage::bucket::{
    Condition, Entry, Key, NamedPart, WholeChecksum, bad_part, etag_of_parts, no_upload,
};
use crate::storage::local::place::locked_temp;
use crate::transfer::checksum::Checksum;
use crate::transfer::digests::crc64_of_two;

pub(super) fn complete(
    layout: &Layout,
    key: &Key,
    id: &str,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    condition: &Condition,
) -> Result<Entry> {
    let Some(etag) = etag_of_parts(named.iter().map(|part| part.etag.as_str())) else {
        return Err(bad_part(key, named.first().map_or(0, |part| part.number)));
    };
    let made = make(layout, key, id, named, checksum, condition, &etag);
    match made {
        // Done before, by this request or one like it.
        Err(error) if error.kind() == ErrorKind::UploadNotFound => match find(layout, key)? {
            Some(there) if there.entry(key).etag == etag => Ok(there.entry(key)),
            _ => Err(no_upload(key)),
        },
        outcome => outcome,
    }
}

fn make(
    layout: &Layout,
    key: &Key,
    id: &str,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    condition: &Condition,
    etag: &str,
) -> Result<Entry> {
    let begun = parts::open(layout, key, id)?;
    let parts = chosen(key, named, parts::read(layout, key, id)?)?;
    let sums: Vec<_> = parts
        .iter()
        .map(|kept| (kept.part.checksum, kept.part.size))
        .collect();
    let checksum = match checksum {
        Some(wanted) => checksum_of_parts(wanted, &sums)?,
        None => None,
    };
    let joined = join(layout, &parts).map_err(|error| parts::gone(key, error))?;
    let (file, path) = joined;
    let crc64 = parts.iter().try_fold(0, |whole, kept| {
        Some(crc64_of_two(whole, kept.crc64?, kept.part.size))
    });
    let fresh = Fresh {
        file,
        path,
        etag: etag.to_owned(),
        properties: begun.properties,
        crc64,
        checksum,
    };
    let entry = publish(layout, key, fresh, condition)?;
    parts::give_up(layout, id)?;
    Ok(entry)
}

/// The parts that are named, in that order.
fn chosen(key: &Key, named: &[NamedPart], kept: Vec<Kept>) -> Result<Vec<Kept>> {
    let mut kept = kept.into_iter();
    named
        .iter()
        .map(|named| {
            let fits = |kept: &Kept| {
                let known = match named.checksum {
                    None => None,
                    Some(Checksum::Crc64Nvme(_)) => kept.crc64.map(Checksum::Crc64Nvme),
                    Some(_) => kept.part.checksum,
                };
                kept.part.etag == named.etag && known == named.checksum
            };
            kept.find(|kept| kept.part.number >= named.number)
                .filter(|kept| kept.part.number == named.number && fits(kept))
                .ok_or_else(|| bad_part(key, named.number))
        })
        .collect()
}

/// The kernel copies, where it can, without the bytes passing through us.
fn join(layout: &Layout, parts: &[Kept]) -> io::Result<(File, tempfile::TempPath)> {
    let folder = layout.temp();
    private::make_folder(&folder)?;
    let (mut whole, path) = locked_temp(&folder, "whole-")?.into_parts();
    for kept in parts {
        let copied = io::copy(&mut File::open(&kept.bytes)?, &mut whole)?;
        if copied != kept.part.size {
            return Err(io::Error::other("a part is shorter than it was"));
        }
    }
    whole.sync_all()?;
    Ok((whole, path))
}
