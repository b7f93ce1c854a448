//! Delete Object, Delete Objects.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop, set};
use stand_in::xml;
use time::OffsetDateTime;

use crate::Versioning;
use crate::core::Core;
use crate::digest::Algorithm;
use crate::respond::{malformed_xml, no_such_key};
use crate::service::{Call, body, conditions, document, empty};
use crate::state::{Bucket, NULL, Version, version_id};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>. Amazon does not mind that a key is missing,
/// Google does.
pub(crate) fn one(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let gone = core.store(|store| {
        let serial = store.next_serial();
        let bucket = call.bucket(core, store)?;
        let generation = call.query.value("generation");
        let version = match generation.filter(|_| core.is_google()) {
            Some(generation) => Some(of_generation(bucket, call.key(), generation)?),
            None => call.query.value("versionId").map(str::to_owned),
        };
        let current = bucket.current(call.key());
        if core.is_google() && current.is_none() && version.is_none() {
            return Err(no_such_key(call.key()));
        }
        conditions::for_delete(core, call, current)?;
        let version = version.as_deref();
        delete(core, bucket, call.key(), version, serial, core.scene.now())
    })?;
    let mut answer = empty(StatusCode::NO_CONTENT);
    if let Some(id) = gone.version {
        set(&mut answer, "x-amz-version-id", &id);
    }
    if gone.marker {
        set(&mut answer, "x-amz-delete-marker", "true");
    }
    Ok(answer)
}

/// The version that Google names by its generation.
fn of_generation(bucket: &Bucket, key: &str, generation: &str) -> Result<String, Fail> {
    let versions = bucket.entries.get(key).map(|entry| entry.versions.iter());
    let found = versions.into_iter().flatten().find(|version| {
        let object = version.object.as_ref();
        object.is_some_and(|object| object.generation.to_string() == generation)
    });
    found
        .map(|version| version.id.clone())
        .ok_or_else(|| no_such_key(key))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
pub(crate) async fn many(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    let stated = Algorithm::ALL.iter().any(|algorithm| {
        call.headers.contains_key(algorithm.header())
            || call.header("x-amz-trailer") == Some(algorithm.header())
    });
    if !stated && !call.headers.contains_key("content-md5") {
        return Err(Fail::new(
            400,
            "InvalidRequest",
            "Missing required header for this request: Content-MD5",
        )
        .into());
    }
    let text = body::document(core, call, body).await?;
    let (wanted, quiet) = wanted(&text)?;
    let inner = core.store(|store| -> Result<String, Fail> {
        let mut inner = String::new();
        for (key, version) in &wanted {
            let serial = store.next_serial();
            let bucket = call.bucket(core, store)?;
            let named = xml::element("Key", key)
                + &version
                    .as_ref()
                    .map(|id| xml::element("VersionId", id))
                    .unwrap_or_default();
            match delete(
                core,
                bucket,
                key,
                version.as_deref(),
                serial,
                core.scene.now(),
            ) {
                Ok(_) if quiet => {}
                Ok(_) => inner += &format!("<Deleted>{named}</Deleted>"),
                Err(fail) => {
                    inner += &format!(
                        "<Error>{named}{}{}</Error>",
                        xml::element("Code", &fail.code),
                        xml::element("Message", &fail.message)
                    );
                }
            }
        }
        Ok(inner)
    })?;
    Ok(document("DeleteResult", &inner))
}

/// A key, and a version of it if one is named.
type Wanted = (String, Option<String>);

fn wanted(text: &str) -> Result<(Vec<Wanted>, bool), Fail> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut quiet = false;
    for (name, value) in xml::leaves(text) {
        match name.as_str() {
            "Key" => wanted.push((value, None)),
            "VersionId" => wanted.last_mut().ok_or_else(malformed_xml)?.1 = Some(value),
            "Quiet" => quiet = value == "true",
            _ => {}
        }
    }
    if wanted.is_empty() || wanted.len() > MOST_KEYS {
        return Err(malformed_xml());
    }
    Ok((wanted, quiet))
}

/// What a deletion did.
#[derive(Debug, Default)]
struct Gone {
    version: Option<String>,
    marker: bool,
}

fn delete(
    core: &Core,
    bucket: &mut Bucket,
    key: &str,
    version: Option<&str>,
    serial: u64,
    now: OffsetDateTime,
) -> Result<Gone, Fail> {
    let versioning = bucket.versioning;
    let Some(entry) = bucket.entries.get_mut(key) else {
        return Ok(Gone::default());
    };
    let doomed = |held: &Version| match (version, versioning) {
        (Some(wanted), _) => held.id == wanted,
        (None, Versioning::Enabled) => false,
        (None, Versioning::Off | Versioning::Suspended) => held.id == NULL,
    };
    if let Some(held) = entry
        .versions
        .iter()
        .find(|held| doomed(held) && held.locked)
    {
        return Err(locked(core, held));
    }
    let mut gone = Gone::default();
    if let Some(wanted) = version {
        let marker = entry
            .versions
            .iter()
            .any(|held| held.id == wanted && held.object.is_none());
        gone = Gone {
            version: Some(wanted.to_owned()),
            marker,
        };
    }
    entry.versions.retain(|held| !doomed(held));
    if version.is_none() && versioning != Versioning::Off {
        let id = match versioning {
            Versioning::Enabled => version_id(serial),
            Versioning::Off | Versioning::Suspended => NULL.to_owned(),
        };
        entry.versions.push(Version {
            id: id.clone(),
            modified: now,
            object: None,
            locked: false,
        });
        gone = Gone {
            version: Some(id),
            marker: true,
        };
    }
    if entry.versions.is_empty() {
        bucket.entries.remove(key);
    }
    bucket.disturb(key);
    Ok(gone)
}

fn locked(core: &Core, held: &Version) -> Fail {
    if core.is_google() {
        return Fail::new(
            403,
            "ObjectUnderActiveHold",
            "Object is under active hold and cannot be deleted, overwritten or archived until hold is removed.",
        );
    }
    Fail::new(
        403,
        "AccessDenied",
        "Access Denied because object protected by object lock.",
    )
    .detail(xml::element("VersionId", &held.id))
}

/// Most keys of one request.
const MOST_KEYS: usize = 1000;
