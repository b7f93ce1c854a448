//! The beginning of a body, from which the type of a file is decided.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::attachment::media::SNIFF_BYTES;
use crate::error::Result;
use crate::transfer::body::Body;

/// The beginning of a body, from which its type is told.
pub(super) struct Beginning {
    /// At most [`SNIFF_BYTES`], whatever pieces they came in: the type must not depend on how a network cuts an upload.
    pub(super) head: Bytes,
    /// Everything that was read.
    pub(super) read: VecDeque<Bytes>,
}

/// Reads until the type can be told.
///
/// What comes in small pieces is copied into one buffer: a piece keeps the whole buffer that the connection read into, so a
/// sender of single bytes would have us hold 8,192 of those.
pub(super) async fn beginning(body: &mut Body) -> Result<Beginning> {
    let mut copied = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if copied.is_empty() && chunk.len() >= SNIFF_BYTES {
            let head = chunk.slice(..SNIFF_BYTES);
            let read = VecDeque::from([chunk]);
            return Ok(Beginning { head, read });
        }
        copied.reserve(SNIFF_BYTES - copied.len());
        let (here, rest) = chunk.split_at(chunk.len().min(SNIFF_BYTES - copied.len()));
        copied.extend_from_slice(here);
        if copied.len() == SNIFF_BYTES {
            let (head, rest) = (copied.freeze(), chunk.slice_ref(rest));
            let read = [head.clone(), rest];
            let read = read.into_iter().filter(|piece| !piece.is_empty()).collect();
            return Ok(Beginning { head, read });
        }
    }
    let head = copied.freeze();
    let read = Some(head.clone()).filter(|head| !head.is_empty());
    Ok(Beginning {
        head,
        read: read.into_iter().collect(),
    })
}
