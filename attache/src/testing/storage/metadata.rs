//! What is known of an object besides its bytes, and of the store.

use std::time::Duration;

use bytes::Bytes;
use sha2::Digest as _;

use crate::attachment::Hex;
use crate::attachment::filename::Disposition;
use crate::error::ErrorKind;
use crate::storage::{Facts, Grant, ObjectInfo, Offer};
use crate::testing::objects::{
    BLOCK, Store, assert_absent, body, content, facts, fresh_key, get, list, pattern, put, range,
};

pub async fn probe_succeeds(store: &Store) {
    let probe = store.probe().await.expect("a store that works");
    assert!(!probe.summary.is_empty());
    let skew = probe.clock_skew_s.unwrap_or_default();
    assert!(skew.abs() < 60.0, "one machine has one clock: {skew}");
}

pub async fn facts_digests_and_unusual_names_travel_with_the_object(store: &Store) {
    let long = "長".repeat(255);
    let names = [
        "写真 🦀.png",
        "it's \"quoted\".txt",
        "100%25 %.txt",
        "a+b&c=d;e,f#g?h.txt",
        "Ünïcödé~`^|<>{}[].txt",
        " nbsp\u{a0}inside",
        &long,
    ];
    for (n, name) in (0..).zip(names) {
        let key = fresh_key();
        let facts = Facts {
            owner: (n != 0).then(|| "page:a/b?c=d&e=%20#~'<>".parse().expect("an owner")),
            filename: name.trim_start_matches(' ').parse().expect("a file name"),
            content_type: "application/x-a; b=\"c d\"".to_owned(),
            created_by: (n != 1).then(|| {
                "Jürgen 山田 <j+x@example.org> 100%"
                    .parse()
                    .expect("an author")
            }),
            ..facts(&key)
        };
        let bytes = pattern(if n % 2 == 0 { 100 } else { 3 * BLOCK }, n);
        let content = content(facts.clone());
        let stored = store.put(&key, &content, body(&bytes)).await.expect("put");
        assert_eq!(
            stored.sha256,
            Some(Hex(sha2::Sha256::digest(&bytes).into()))
        );
        assert_eq!(stored.md5, Some(Hex(md5::Md5::digest(&bytes).into())));
        assert_eq!(stored.crc64, Some(crate::transfer::body::crc64(&bytes)));

        let whole = get(&**store, &key, None).await.expect("get").info;
        let part = get(&**store, &key, Some(range(5, 50)))
            .await
            .expect("get")
            .info;
        let listed = list(&**store, None).await.expect("list");
        let listed = listed.into_iter().find(|info| info.key == key);
        for info in [whole, part, listed.expect("it is listed")] {
            assert_eq!(info.facts.as_ref(), Some(&facts));
            assert_eq!(
                (info.size, info.sha256, info.md5, info.crc64),
                (stored.size, stored.sha256, stored.md5, stored.crc64),
            );
        }
    }
}

pub async fn the_charset_of_a_text_travels_with_it_once_all_of_it_has_passed(store: &Store) {
    let long = |end: &[u8]| {
        Bytes::from(
            [
                &vec![b'x'; 3 * usize::try_from(BLOCK).expect("small")][..],
                end,
            ]
            .concat(),
        )
    };
    for (drafted, bytes, settled) in [
        ("text/plain", Bytes::from("写"), "text/plain; charset=utf-8"),
        (
            "text/plain",
            long("写".as_bytes()),
            "text/plain; charset=utf-8",
        ),
        (
            "text/plain",
            long(b"\x8E\xCA"),
            "text/plain; charset=unknown-8bit",
        ),
        (
            "text/markdown; charset=Shift_JIS",
            long(b"\x8E\xCA"),
            "text/markdown; charset=Shift_JIS",
        ),
    ] {
        let key = fresh_key();
        let facts = Facts {
            content_type: drafted.to_owned(),
            ..facts(&key)
        };
        let content = content(facts);
        store.put(&key, &content, body(&bytes)).await.expect("put");
        let found = get(&**store, &key, None).await.expect("get").info;
        assert_eq!(found.facts.expect("facts").content_type, settled);
    }
}

pub async fn head_tells_what_get_tells_and_is_nothing_for_an_absent_object(store: &Store) {
    let key = fresh_key();
    assert_eq!(store.head(&key).await.expect("head"), None);
    put(&**store, &key, &pattern(100, 18)).await.expect("put");
    let got = get(&**store, &key, None).await.expect("get").info;
    assert_eq!(store.head(&key).await.expect("head"), Some(got));
}

pub async fn facts_can_be_written_again_and_the_bytes_stay(store: &Store) {
    let key = fresh_key();
    let bytes = pattern(3 * BLOCK, 19);
    let stored = put(&**store, &key, &bytes).await.expect("put");
    let before = get(&**store, &key, None).await.expect("get").info;
    let facts = Facts {
        filename: "another name.bin".parse().expect("a name"),
        owner: None,
        ..facts(&key)
    };
    let content = content(facts.clone());
    // As often as one likes.
    for _ in 0..2 {
        let tag = store.write_facts(&key, &content, &stored).await;
        let tag = tag.expect("written");
        let whole = get(&**store, &key, None).await.expect("get");
        assert!(whole.bytes == bytes, "other bytes");
        let expected = ObjectInfo {
            facts: Some(facts.clone()),
            store_tag: tag,
            ..before.clone()
        };
        assert_eq!(whole.info, expected);
        assert_eq!(list(&**store, None).await.expect("list"), [expected]);
    }
    let absent = fresh_key();
    let error = store.write_facts(&absent, &content, &stored).await;
    assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    assert_absent(store, &absent).await;
}

pub async fn an_offer_needs_no_object(store: &Store) {
    let grant = Grant {
        lifetime: Duration::from_secs(120),
        step: Duration::from_secs(60),
        disposition: Disposition::Inline.header(&"a.png".parse().expect("a file name")),
        content_type: "image/png".to_owned(),
        cache_control: None,
    };
    let key = fresh_key();
    match store.offer(&key, &grant).await.expect("an offer, or none") {
        Some(Offer::SignedUrl { url, expires_at }) => {
            assert!(url.expose().contains(key.as_str()));
            let left = expires_at - time::OffsetDateTime::now_utc();
            let least = grant.lifetime / 2 - Duration::from_secs(1);
            assert!(left > least && left <= grant.lifetime, "{left}");
        }
        Some(Offer::InternalPath(path)) => assert_eq!(path, key.as_str()),
        None => {}
    }
    assert_absent(store, &key).await;
}
