//! Google: one object put together from others.

use std::sync::Arc;

use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop};
use stand_in::content::Content;
use stand_in::wire::hex;
use stand_in::xml;

use crate::core::Core;
use crate::digest::Digester;
use crate::respond::malformed_xml;
use crate::service::conditions::{self, Watch};
use crate::service::put::{self, check_key, etag};
use crate::service::{Call, body, read};
use crate::state::Object;

/// Most components of one request (<https://cloud.google.com/storage/quotas#objects>).
const MOST_COMPONENTS: usize = 32;

/// <https://cloud.google.com/storage/docs/xml-api/put-object-compose>
pub(crate) async fn object(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    let watch = Watch::new(core, call);
    let text = body::document(core, call, body).await?;
    if !core.is_google() {
        return Err(unknown().into());
    }
    let metadata = put::metadata(core, call)?;
    let leaves = xml::leaves(&text).into_iter();
    let names: Vec<String> = leaves
        .filter(|(name, _)| name == "Name")
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        return Err(malformed_xml().into());
    }
    if names.len() > MOST_COMPONENTS {
        return Err(Fail::new(
            400,
            "InvalidArgument",
            "The number of source components provided exceeds the maximum (32)",
        )
        .into());
    }
    let answer = core.store(|store| -> Result<Answer, Fail> {
        let serial = store.next_serial();
        check_key(core, call.key())?;
        let bucket = call.bucket(core, store)?;
        conditions::for_write(core, call, bucket.current(call.key()))?;
        watch.check(bucket)?;
        let (mut pieces, mut digester) = (Vec::new(), Digester::new());
        for name in &names {
            let (source, _) = read::found(core, bucket, name, None, None)?;
            let mut at = 0;
            while at < source.content.len {
                let chunk = source.content.chunk(at, usize::MAX);
                digester.update(&chunk);
                at += chunk.len() as u64;
            }
            pieces.extend(source.content.pieces.to_vec());
        }
        let digests = digester.finish();
        let object = Arc::new(Object {
            content: Content::new(pieces, core.retention),
            // No MD5 is known of what was put together.
            etag: etag(core, hex(serial.to_be_bytes()), serial),
            modified: core.scene.now(),
            generation: serial,
            metadata,
            headers: put::stored_headers(core, call),
            storage_class: put::storage_class(core, call),
            md5: None,
            crc32c: digests.crc32c,
            checksum: None,
        });
        let version = bucket.insert(call.key(), Arc::clone(&object), serial);
        Ok(put::made(core, &object, version.as_deref()))
    });
    answer.map_err(Stop::from)
}

fn unknown() -> Fail {
    Fail::new(
        501,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
    )
}
