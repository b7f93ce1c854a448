//! What a body is wrapped in on its way: nothing but chunks.

use axum::extract::Request;
use axum::response::Response;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::respond::{closing, plain_problem};
use crate::upload::Incoming;

/// Refuses transfer codings that hyper passes on without undoing them: the bytes would not be those that were meant
/// (RFC 9112 section 6.1: 501).
pub(crate) fn refuse(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (incoming, rest) = Incoming::new(&parts.headers, body);
    drop(incoming);
    rest.linger();
    let detail =
        "no Transfer-Encoding but \"chunked\" is supported; send the body as it is".to_owned();
    closing(plain_problem(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        detail,
    ))
}

/// Whether a request has no transfer coding that would have to be undone.
pub(crate) fn only_chunked(headers: &HeaderMap) -> bool {
    headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .all(|coding| {
            coding.is_empty()
                || coding.eq_ignore_ascii_case(b"chunked")
                || coding.eq_ignore_ascii_case(b"identity")
        })
}
