//! What a client says of an object comes back as it was.

use std::collections::BTreeMap;

use crate::error::ErrorKind;
use crate::storage::bucket::{Entry, KeptChecksum, NewObject, Properties};
use crate::testing::buckets::{Pail, found, is_told, key, new, properties, put, put_new};
use crate::testing::objects::{BLOCK, body, pattern};
use crate::transfer::checksum::ChecksumKind;

pub async fn all_properties_come_back_as_they_were(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let (key, bytes) = (key(&format!("k{size}")), pattern(size, 1));
        let with = NewObject {
            properties: properties(),
            ..new()
        };
        let put = put_new(bucket, &key, &with, &bytes).await.expect("put");
        assert_eq!(put.properties, properties());
        let (entry, _) = found(bucket, &key).await.expect("it is there");
        assert_eq!(entry.properties, properties());
    }
}

/// What a store cannot keep is refused as what it is: only what is long.
fn is_kept(properties: &Properties, outcome: &crate::Result<Entry>) -> bool {
    let Err(error) = outcome else { return true };
    assert_eq!(error.kind(), ErrorKind::BadRequest, "{error:?}");
    let longest = properties.metadata.values().map(String::len).max();
    assert!(longest > Some(1024), "{properties:?}: {error:?}");
    false
}

/// What headers, XML or identifiers cannot hold as it is.
fn unusual() -> Vec<Properties> {
    let some = |text: &str| Some(text.to_owned());
    let strange = [
        "",
        " ",
        " a ",
        "ä",
        "写真",
        "a%20b",
        "%",
        "\"q\"",
        "a;b,c",
        "<&>",
        "\u{1F600}",
        "=?utf-8?q?x?=",
    ];
    let names = [
        "a",
        "a-b",
        "a_b",
        "a.b",
        "1st",
        "a!b",
        "content-type",
        "attache_etag",
        "etag",
        "id",
        "size",
        "crc64",
        "attempt",
        "filename",
        "hdi_isfolder",
        "~",
        "x%41",
        "class",
        "é",
    ];
    let mut all = vec![
        Properties {
            metadata: names.map(|name| (name.to_owned(), name.to_owned())).into(),
            ..Properties::default()
        },
        Properties {
            metadata: (strange.iter().enumerate())
                .map(|(n, value)| (format!("m{n}"), (*value).to_owned()))
                .collect(),
            tags: (strange.iter().take(10).enumerate())
                .map(|(n, value)| (format!("{value}{n}"), (*value).to_owned()))
                .collect(),
            ..Properties::default()
        },
        // All that a client may send.
        Properties {
            metadata: BTreeMap::from([("long".to_owned(), "x".repeat(2044))]),
            ..Properties::default()
        },
        Properties {
            metadata: BTreeMap::from([("long".to_owned(), "é".repeat(1022))]),
            ..Properties::default()
        },
    ];
    all.extend(strange.iter().skip(2).map(|text| Properties {
        content_type: some(text.trim()),
        cache_control: some(text.trim()),
        content_disposition: some(&format!("attachment; filename=\"{}\"", text.trim())),
        content_encoding: some(text.trim()),
        content_language: some(text.trim()),
        expires: some(text.trim()),
        ..Properties::default()
    }));
    all
}

pub async fn unusual_properties_come_back_as_they_were(bucket: &Pail) {
    let key = key("k");
    for properties in unusual() {
        let with = NewObject {
            properties,
            ..new()
        };
        let put = put_new(bucket, &key, &with, &pattern(3, 1)).await;
        if is_kept(&with.properties, &put) {
            let (entry, _) = found(bucket, &key).await.expect("it is there");
            assert_eq!(entry.properties, with.properties);
        }
    }
    for properties in unusual() {
        let entry = bucket.head(&key).await.expect("head").expect("it is there");
        let set = bucket
            .set_properties(&key, &entry.version, &properties)
            .await;
        if is_kept(&properties, &set) {
            assert_eq!(set.expect("set").properties, properties);
            let (entry, _) = found(bucket, &key).await.expect("it is there");
            assert_eq!(entry.properties, properties);
        }
    }
}

pub async fn a_checksum_that_the_body_computed_is_kept(bucket: &Pail) {
    for kind in ChecksumKind::ALL {
        for size in [0, 10, 3 * BLOCK + 1] {
            let (key, bytes) = (key(kind.as_str()), pattern(size, 1));
            let body = body(&bytes).with_checksum(kind, None);
            let put = bucket.put(&key, &new(), body).await.expect("put");
            let (entry, _) = found(bucket, &key).await.expect("it is there");
            assert!(is_told(&put, &entry), "{put:?} {entry:?}");
            let whole = kind.of_bytes(&bytes);
            let kept = KeptChecksum {
                checksum: whole,
                parts: None,
            };
            assert_eq!(entry.checksum, Some(kept));
        }
        put(bucket, &key(kind.as_str()), &pattern(3, 2))
            .await
            .expect("put");
        let (entry, _) = found(bucket, &key(kind.as_str()))
            .await
            .expect("it is there");
        assert_eq!(entry.checksum, None, "of what was there before");
    }
}

pub async fn properties_are_replaced_and_the_bytes_stay(bucket: &Pail) {
    let (key, bytes) = (key("k"), pattern(3 * BLOCK, 1));
    let with = NewObject {
        properties: properties(),
        ..new()
    };
    let body = body(&bytes).with_checksum(ChecksumKind::Crc32, None);
    let mut before = bucket.put(&key, &with, body).await.expect("put");
    let other = Properties {
        content_type: Some("image/png".to_owned()),
        metadata: BTreeMap::from([("other".to_owned(), "1".to_owned())]),
        ..Properties::default()
    };
    for properties in [other, Properties::default(), properties()] {
        let set = bucket
            .set_properties(&key, &before.version, &properties)
            .await;
        let set = set.expect("set");
        let (entry, read) = found(bucket, &key).await.expect("it is there");
        assert!(read == bytes, "other bytes");
        assert!(is_told(&set, &entry), "{set:?} {entry:?}");
        assert_eq!(entry.properties, properties);
        assert_eq!(
            (&entry.etag, entry.checksum, entry.crc64, entry.size),
            (&before.etag, before.checksum, before.crc64, before.size)
        );
        assert_ne!(entry.version, before.version, "another version");
        assert!(entry.modified >= before.modified);
        before = entry;
    }
}

pub async fn properties_are_replaced_of_the_version_that_is_meant(bucket: &Pail) {
    let (key, bytes) = (key("k"), pattern(10, 1));
    let old = put(bucket, &key, &bytes).await.expect("put").version;
    put(bucket, &key, &bytes).await.expect("put");
    let before = found(bucket, &key).await;
    let error = bucket.set_properties(&key, &old, &properties()).await;
    let error = error.expect_err("another version");
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
    assert_eq!(found(bucket, &key).await, before);
    bucket.delete(&key).await.expect("deleted");
    let error = bucket.set_properties(&key, &old, &properties()).await;
    let error = error.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(found(bucket, &key).await.is_none());
}
