//! Conditions: of reads as in RFC 9110, of writes as the services have them.

use std::sync::Arc;

use http::StatusCode;
use stand_in::answer::Fail;
use stand_in::wire::parse_http_date;

use crate::core::Core;
use crate::respond::{no_such_key, precondition_failed};
use crate::service::Call;
use crate::state::{Bucket, Object};

/// Of Get and Head.
pub(crate) fn for_read(core: &Core, call: &Call, object: &Object) -> Result<(), Fail> {
    generation(core, call, Some(object))?;
    if let Some(wanted) = call.header("if-match") {
        if !matches(wanted, object) {
            return Err(precondition_failed("If-Match"));
        }
    } else if let Some(since) = call.header("if-unmodified-since").and_then(parse_http_date)
        && object.modified.unix_timestamp() > since.unix_timestamp()
    {
        return Err(precondition_failed("If-Unmodified-Since"));
    }
    if let Some(unwanted) = call.header("if-none-match") {
        if matches(unwanted, object) {
            return Err(not_modified(object));
        }
    } else if let Some(since) = call.header("if-modified-since").and_then(parse_http_date)
        && object.modified.unix_timestamp() <= since.unix_timestamp()
    {
        return Err(not_modified(object));
    }
    Ok(())
}

/// Of whatever makes an object, at the moment when it does.
pub(crate) fn for_write(
    core: &Core,
    call: &Call,
    current: Option<&Arc<Object>>,
) -> Result<(), Fail> {
    if !core.manners.conditions {
        return Ok(());
    }
    if core.is_google() {
        return generation(core, call, current.map(Arc::as_ref));
    }
    match call.header("if-none-match") {
        None => {}
        Some("*") if current.is_some() => return Err(precondition_failed("If-None-Match")),
        Some("*") => {}
        Some(_) => return Err(not_implemented()),
    }
    match (call.header("if-match"), current) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(no_such_key(call.key())),
        (Some(wanted), Some(object)) if matches(wanted, object) => Ok(()),
        (Some(_), Some(_)) => Err(precondition_failed("If-Match")),
    }
}

/// Of a deletion; `If-Match` is looked at in newer regions and buckets of any kind
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>).
pub(crate) fn for_delete(
    core: &Core,
    call: &Call,
    current: Option<&Arc<Object>>,
) -> Result<(), Fail> {
    if !core.manners.conditions {
        return Ok(());
    }
    if core.is_google() {
        return generation(core, call, current.map(Arc::as_ref));
    }
    match (call.header("if-match"), current) {
        (Some(wanted), Some(object)) if !matches(wanted, object) => {
            Err(precondition_failed("If-Match"))
        }
        _ => Ok(()),
    }
}

/// Of the source of a copy.
pub(crate) fn for_source(core: &Core, call: &Call, source: &Object) -> Result<(), Fail> {
    let name = |rest: &str| format!("copy-source-if-{rest}");
    if let Some(wanted) = call.own(core, &name("match"))
        && !matches(wanted, source)
    {
        return Err(precondition_failed("x-amz-copy-source-If-Match"));
    }
    if let Some(unwanted) = call.own(core, &name("none-match"))
        && matches(unwanted, source)
    {
        return Err(precondition_failed("x-amz-copy-source-If-None-Match"));
    }
    match call.own(core, &name("generation-match")) {
        Some(wanted) if wanted != source.generation.to_string() => Err(precondition_failed(
            "x-goog-copy-source-if-generation-match",
        )),
        _ => Ok(()),
    }
}

/// `x-goog-if-generation-match`, where 0 means that there must be no object.
fn generation(core: &Core, call: &Call, current: Option<&Object>) -> Result<(), Fail> {
    if !core.is_google() {
        return Ok(());
    }
    let is = current.map_or(0, |object| object.generation);
    match call.header("x-goog-if-generation-match") {
        Some(wanted) if wanted.parse() != Ok(is) => {
            Err(precondition_failed("x-goog-if-generation-match"))
        }
        _ => Ok(()),
    }
}

fn matches(list: &str, object: &Object) -> bool {
    let bare = |tag: &str| tag.trim().trim_matches('"').to_owned();
    list.split(',')
        .any(|tag| tag.trim() == "*" || bare(tag) == bare(&object.etag))
}

fn not_modified(object: &Object) -> Fail {
    Fail::new(
        StatusCode::NOT_MODIFIED.as_u16(),
        "NotModified",
        "Not Modified",
    )
    .header("etag", object.etag.clone())
}

fn not_implemented() -> Fail {
    Fail::new(
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
    )
}

/// A conditional write from its first byte to its last: a deletion of its key in between is a conflict, after which
/// nobody can say whether the condition held
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>, `If-None-Match`).
pub(crate) struct Watch<'a> {
    core: &'a Core,
    bucket: String,
    id: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(core: &'a Core, call: &Call) -> Self {
        let bucket = call.bucket.clone().unwrap_or_default();
        let conditional =
            core.manners.conditions && call.header("if-none-match").is_some() && !core.is_google();
        let id = conditional.then(|| {
            core.store(|store| {
                let id = store.next_serial();
                if let Some(bucket) = store.buckets.get_mut(&bucket) {
                    bucket.watched.insert(id, (call.key().to_owned(), false));
                }
                id
            })
        });
        Self { core, bucket, id }
    }

    /// Fails if the key was deleted since.
    pub(crate) fn check(&self, bucket: &Bucket) -> Result<(), Fail> {
        let watched = self.id.and_then(|id| bucket.watched.get(&id));
        if watched.is_some_and(|(_, disturbed)| *disturbed) {
            return Err(Fail::new(
                409,
                "ConditionalRequestConflict",
                "The conditional request cannot succeed due to a conflicting operation against this resource.",
            ));
        }
        Ok(())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        self.core.store(|store| {
            if let Some(bucket) = store.buckets.get_mut(&self.bucket) {
                bucket.watched.remove(&id);
            }
        });
    }
}
