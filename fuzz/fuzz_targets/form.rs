//! An upload as a form or as a raw body: however it is split into chunks, the same file comes of it, or the same refusal.
#![no_main]
#![allow(
    dead_code,
    reason = "the server uses all of the folder, this a part of it"
)]

#[path = "../../attache-server/src/upload/mod.rs"]
mod upload;

use attache::ErrorKind;
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A character for the kind, one for the size of chunks, then the body.
    let [kind, cut, body @ ..] = input else {
        return;
    };
    let content_type = match kind {
        b'r' => "application/octet-stream",
        b'q' => "multipart/form-data; boundary=\"b\"",
        _ => "multipart/form-data; boundary=b",
    };
    let whole = read(content_type, body, body.len());
    let split = read(content_type, body, usize::from(*cut) + 1);
    assert_eq!(
        whole,
        split,
        "in one piece, and in pieces of {}",
        usize::from(*cut) + 1
    );
    if let Ok((_, bytes)) = whole {
        assert!(bytes.len() <= body.len());
        if content_type.starts_with("application") {
            assert_eq!(&bytes[..], body);
        }
    }
});

/// What is said of the file, and its bytes.
type Read = Result<(String, Vec<u8>), ErrorKind>;

fn read(content_type: &'static str, body: &[u8], chunk: usize) -> Read {
    let chunks: Vec<Result<Bytes, std::io::Error>> = body
        .chunks(chunk.max(1))
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let body = Body::from_stream(futures::stream::iter(chunks));
    let (incoming, _rest) = upload::Incoming::new(&headers, body);
    futures::executor::block_on(async {
        let query = upload::UploadQuery::default();
        let mut upload = upload::read(query, &headers, incoming)
            .await
            .map_err(|error| error.kind())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = upload.bytes.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| error.kind())?);
        }
        Ok((format!("{:?}", upload.new), bytes))
    })
}
