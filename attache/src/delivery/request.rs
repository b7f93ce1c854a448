//! What a request asks for.

use std::sync::Arc;

use super::config::DeliveryMode;
use crate::attachment::filename::Disposition;
use crate::transfer::handover::Handover;

/// What a request asks for. The values of headers as they came.
#[derive(Clone, Debug, Default)]
pub struct DeliveryRequest {
    /// Shown or saved.
    pub disposition: Disposition,
    /// Only the head is wanted.
    pub head: bool,
    /// `Range`
    pub range: Option<String>,
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// Another way than the configured one: `relay` is for everybody, `redirect` only where that is the configured way.
    pub via: Option<DeliveryMode>,
    /// It came with an `Authorization` header. Many clients (wget, Java, Python's urllib) send that header on to where they
    /// are redirected, and Azure refuses it beside a signature; so such a request is relayed, unless `via` says otherwise.
    pub authorization: bool,
    /// It came through a web server that is known to be in front: one that understands `X-Accel-Redirect` and shows it to
    /// nobody. Without this nothing is delegated.
    pub through_proxy: bool,
    /// Joins the body to the socket of its connection, where the kernel can send files by itself: chunks may then
    /// [stand for](Handover) bytes. For whoever writes to that socket; all others leave it unset.
    pub handover: Option<Arc<Handover>>,
}
