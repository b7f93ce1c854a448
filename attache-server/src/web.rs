//! The page at `/`: plain HTML, CSS and ES modules, embedded in the binary.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};

use crate::respond::plain_problem;

/// Nothing inline, nothing from elsewhere but images: thumbnails may be redirected to the store.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data: https:; style-src 'self'; script-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

macro_rules! assets {
    ($($name:literal: $content_type:literal),* $(,)?) => {
        const ASSETS: &[(&str, &str, &[u8])] = &[
            $(($name, $content_type, include_bytes!(concat!("web/", $name)))),*
        ];
    };
}
assets! {
    "index.html": "text/html; charset=utf-8",
    "status.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "api.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "format.js": "text/javascript; charset=utf-8",
    "job.js": "text/javascript; charset=utf-8",
    "kept.js": "text/javascript; charset=utf-8",
    "list.js": "text/javascript; charset=utf-8",
    "session.js": "text/javascript; charset=utf-8",
    "status.js": "text/javascript; charset=utf-8",
    "tus.js": "text/javascript; charset=utf-8",
    "upload.js": "text/javascript; charset=utf-8",
    "uplot.js": "text/javascript; charset=utf-8",
    "uplot.css": "text/css; charset=utf-8",
    "uplot.LICENSE": "text/plain; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}

pub(crate) async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

pub(crate) async fn status(headers: HeaderMap) -> Response {
    serve("status.html", &headers)
}

pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, content_type, bytes)) = ASSETS.iter().find(|(known, ..)| *known == name) else {
        return plain_problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such file".to_owned(),
        );
    };
    // The assets change with the binary only.
    let tag = concat!("\"", env!("CARGO_PKG_VERSION"), "-");
    let tag = format!("{tag}{:016x}\"", attache::transfer::body::crc64(bytes));
    let common = [
        (ETAG, tag.as_str()),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|have| have.as_bytes() == tag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, *content_type)], *bytes).into_response()
}
