//! What is in a row.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::failure::Failure;
use crate::attachment::{Attachment, Hex, ObjectKey, media};
use crate::catalog::{instant, unsigned};
use crate::error::{Error, Result};

/// The columns of an attachment, in the order of [`attachment`].
pub(super) const COLUMNS: &str = "id, object_key, owner, filename, content_type, utf8, size, sha256, crc64, created_at_ms, created_by, md5, store_tag";

/// The same, of the table that is called `a`.
pub(super) fn columns_of_a() -> String {
    let columns = COLUMNS.split(", ").map(|column| format!("a.{column}"));
    columns.collect::<Vec<_>>().join(", ")
}

/// From the first column on.
pub(super) fn attachment(row: &Row) -> Result<Attachment, Failure> {
    let optional = |column: usize| get::<Option<String>>(row, column);
    let decided: String = get(row, 4)?;
    let utf8: Option<bool> = get(row, 5)?;
    Ok(Attachment {
        id: get::<String>(row, 0)?.parse()?,
        key: ObjectKey::recorded(&get::<String>(row, 1)?)?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: get::<String>(row, 3)?.into(),
        content_type: media::settled(&decided, utf8),
        size: unsigned(get(row, 6)?),
        sha256: Hex(array(get(row, 7)?)?),
        crc64: get::<Option<&[u8]>>(row, 8)?
            .map(array)
            .transpose()?
            .map(u64::from_be_bytes),
        created_at: instant(get(row, 9)?)?,
        created_by: optional(10)?.map(|text| text.parse()).transpose()?,
        md5: get::<Option<&[u8]>>(row, 11)?
            .map(array)
            .transpose()?
            .map(Hex),
        store_tag: optional(12)?,
    })
}

/// One column. A type that does not fit is a fault of ours or of somebody who changed the tables.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    row.try_get(column)
        .map_err(|error| Failure::Other(error.into()))
}

/// A digest of fixed length.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Failure> {
    bytes
        .try_into()
        .map_err(|_| Error::internal("a digest in the catalog has another length").into())
}

/// The rows of an answer, understood.
pub(super) fn each<T>(
    operation: &'static str,
    rows: &[Row],
    of: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Vec<T>> {
    let all: Result<_, Failure> = rows.iter().map(of).collect();
    all.map_err(|failure| failure.into_error(operation))
}
