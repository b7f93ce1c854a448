//! Where the next page of a listing begins, as text that clients hand back.

use attache::attachment::AttachmentId;
use attache::attachment::Owner;
use attache::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A cursor holds the listing it belongs to, so that one of another listing is not taken for a position in this one.
pub(super) fn encode((ms, id): &(i64, AttachmentId), owner: Option<&Owner>) -> String {
    let owner = owner.map_or("", Owner::as_str);
    URL_SAFE_NO_PAD.encode(format!("1 {ms} {id} {owner}"))
}

pub(super) fn decode(cursor: &str, owner: Option<&Owner>) -> Result<(i64, AttachmentId)> {
    let wrong = || {
        Error::bad_request(
            "after is not the \"next\" of a page of this listing; begin again without it",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let mut parts = text.splitn(4, ' ');
    let (Some("1"), Some(ms), Some(id), Some(of)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    if of != owner.map_or("", Owner::as_str) {
        return Err(wrong());
    }
    Ok((
        ms.parse().map_err(|_| wrong())?,
        id.parse().map_err(|_| wrong())?,
    ))
}
