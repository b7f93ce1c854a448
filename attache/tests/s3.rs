//! What is promised of Amazon S3 and Google Cloud Storage alone: signed URLs, credentials, versions, and that nothing which breaks on the
//! way breaks an object. By a stand-in that checks signatures, digests and conditions.

mod common;

use std::time::Duration;

use attache::attachment::ObjectKey;
use attache::secret::Secret;
use attache::storage::multipart::Part;
use attache::storage::s3::{IGNORES_CONDITIONS, S3Storage, S3StoreConfig};
use attache::storage::{Grant, Offer, PutGrant, Storage};
use attache::{Error, ErrorKind};
use common::{
    BLOCK, CONTAINER, Reply, ask, body, content, facts, failing_body, fake_gcs, fake_s3, fresh_key,
    get, interrupt_put, list, on_gcs, on_s3, open_gcs, open_s3, pattern, put, send, started,
};
use fake_s3::{Dialect, FakeS3, Op, Versioning};
use futures::future::join_all;
use time::OffsetDateTime;

const MINUTE: Duration = Duration::from_secs(60);

/// Both stores, each with its stand-in.
async fn both() -> Vec<(FakeS3, S3Storage)> {
    let (s3, gcs) = (fake_s3().await, fake_gcs().await);
    let stores = (open_s3(&on_s3(&s3)), open_gcs(&on_gcs(&gcs)));
    vec![(s3, stores.0), (gcs, stores.1)]
}

fn grant() -> Grant {
    Grant {
        lifetime: 2 * MINUTE,
        step: MINUTE,
        disposition: "inline; filename=\"a b_.txt\"; filename*=UTF-8''a%20b%25%E5%86%99.txt"
            .to_owned(),
        content_type: "text/plain; charset=utf-8".to_owned(),
        cache_control: Some("private, max-age=120, immutable".to_owned()),
    }
}

async fn signed(store: &S3Storage, key: &ObjectKey, grant: &Grant) -> (String, OffsetDateTime) {
    match store.offer(key, grant).await.expect("signed") {
        Some(Offer::SignedUrl { url, expires_at }) => (url.expose().to_owned(), expires_at),
        other => panic!("not a URL: {other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn nothing_is_left(fake: &FakeS3) {
    let keys: Vec<String> = fake
        .objects()
        .into_iter()
        .map(|object| object.key)
        .collect();
    assert_eq!(keys, Vec::<String>::new());
    assert_eq!(fake.counts().uploads, 0);
}

// Signed URLs.

#[tokio::test]
async fn a_signed_url_opens_one_object_as_signed_and_nothing_else() {
    for (fake, store) in both().await {
        let (key, other) = (fresh_key(), fresh_key());
        let bytes = pattern(3 * BLOCK, 1);
        put(&store, &key, &bytes).await.expect("put");
        put(&store, &other, &bytes).await.expect("put");
        let grant = grant();
        let (url, expires_at) = signed(&store, &key, &grant).await;
        let left = expires_at - OffsetDateTime::now_utc();
        assert!(
            left > MINUTE - Duration::from_secs(1) && left <= 2 * MINUTE,
            "{left}"
        );

        let ca = Some(fake.ca_pem());
        let reply = ask("GET", &url, ca).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        assert!(reply.body == bytes, "other bytes");
        assert_eq!(reply.header("content-type"), grant.content_type);
        assert_eq!(reply.header("content-disposition"), grant.disposition);
        assert_eq!(
            reply.header("cache-control"),
            grant.cache_control.as_deref().unwrap_or_default()
        );

        let forged = [
            url.replace(key.as_str(), other.as_str()),
            url.replace("text%2Fplain", "text%2Fhtml"),
            url.replace("inline", "attachment"),
            url.replace("-Expires=120", "-Expires=7200"),
            url.replace("response-content-type=", "x="),
        ];
        for forged in forged {
            assert_ne!(forged, url, "nothing was changed");
            let reply = ask("GET", &forged, ca).await;
            assert!(
                matches!(reply.status, 400 | 401 | 403),
                "{} for {forged}",
                reply.status
            );
            assert!(reply.body != bytes);
        }
        for method in ["PUT", "DELETE"] {
            assert_eq!(ask(method, &url, ca).await.status, 403, "{method}");
        }
    }
}

#[tokio::test]
async fn within_a_step_everybody_gets_the_same_url_from_every_process() {
    let (s3, gcs) = (fake_s3().await, fake_gcs().await);
    let key = fresh_key();
    // So long a step that the test does not meet its end.
    let grant = Grant {
        lifetime: 120 * MINUTE,
        step: 60 * MINUTE,
        ..grant()
    };
    let of_s3 = [open_s3(&on_s3(&s3)), open_s3(&on_s3(&s3))];
    let of_gcs = [open_gcs(&on_gcs(&gcs)), open_gcs(&on_gcs(&gcs))];
    for [one, other] in [of_s3, of_gcs] {
        let first = signed(&one, &key, &grant).await;
        assert_eq!(signed(&one, &key, &grant).await, first);
        assert_eq!(signed(&other, &key, &grant).await, first);
        assert_eq!(one.vitals().connections_open, 0, "nobody was asked");
    }
}

#[tokio::test]
async fn a_signed_url_expires_and_works_while_our_clock_is_off() {
    for (fake, store) in both().await {
        let key = fresh_key();
        put(&store, &key, &pattern(10, 2)).await.expect("put");
        let (url, _) = signed(&store, &key, &grant()).await;
        let ca = Some(fake.ca_pem());
        assert_eq!(ask("GET", &url, ca).await.status, 200);
        fake.faults(|f| f.clock_skew_seconds = 240);
        assert!(matches!(ask("GET", &url, ca).await.status, 400 | 403));
        // The answer to any request tells how far off we are.
        store.head(&key).await.expect("four minutes are little");
        let (url, expires_at) = signed(&store, &key, &grant()).await;
        let reply = ask("GET", &url, ca).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        let left = expires_at - OffsetDateTime::now_utc();
        assert!(left.abs() <= 2 * MINUTE, "told on our clock: {left}");
        let told = store.probe().await.expect("works").clock_skew_s;
        assert!((told.expect("a date") - 240.0).abs() < 5.0, "{told:?}");
    }
}

#[tokio::test]
async fn signed_urls_are_made_for_the_public_endpoint_and_live_a_week_at_most() {
    let fake = fake_s3().await;
    let config = S3StoreConfig {
        public_endpoint: Some("https://files.example".to_owned()),
        ..on_s3(&fake)
    };
    let key = fresh_key();
    let long = Grant {
        lifetime: 20 * 24 * 60 * MINUTE,
        ..grant()
    };
    let (url, _) = signed(&open_s3(&config), &key, &long).await;
    assert!(
        url.starts_with(&format!("https://files.example/{CONTAINER}/{key}?")),
        "{url}"
    );
    assert!(url.contains("X-Amz-Expires=604800"), "{url}");
}

#[tokio::test]
async fn a_direct_put_brings_what_was_signed_once_and_replaces_nothing() {
    for (fake, store) in both().await {
        let (key, bytes) = (fresh_key(), pattern(1000, 3));
        let grant = PutGrant {
            lifetime: MINUTE,
            size: 1000,
            content_type: "application/octet-stream".to_owned(),
            md5: None,
        };
        let offer = store
            .offer_put(&key, &grant)
            .await
            .expect("signed")
            .expect("an offer");
        let url = offer.url.expose();
        let ca = Some(fake.ca_pem());
        let other_type = [("content-type", "text/html".to_owned())];
        let mut lies = vec![
            (pattern(999, 3), offer.headers.clone()),
            (pattern(1001, 3), offer.headers.clone()),
        ];
        lies.push((bytes.clone(), other_type.to_vec()));
        for (bytes, headers) in lies {
            let reply = send("PUT", url, &headers, bytes, ca).await;
            assert!((400..500).contains(&reply.status), "{}", reply.status);
            assert_eq!(fake.counts().objects, 0);
        }
        let reply = send("PUT", url, &offer.headers, bytes.clone(), ca).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
        let again = send("PUT", url, &offer.headers, pattern(1000, 4), ca).await;
        assert_eq!(again.status, 412);
        assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    }
}

// Uploads.

#[tokio::test]
async fn an_object_carries_its_type_and_disposition_and_nothing_else_is_left() {
    for (fake, store) in both().await {
        for size in [10, 5 * BLOCK, 40 * BLOCK] {
            let key = fresh_key();
            put(&store, &key, &pattern(size, 4)).await.expect("put");
            let object = fake.object(CONTAINER, key.as_str()).expect("it is there");
            let content = content(facts(&key));
            assert_eq!(object.content_type, Some(content.content_type));
            assert_eq!(object.content_disposition, Some(content.disposition));
            store.delete(&key).await.expect("deleted");
            nothing_is_left(&fake);
        }
    }
}

#[tokio::test]
async fn a_put_succeeds_although_its_answer_was_lost() {
    for (fake, store) in both().await {
        let composed = match store.name() {
            "s3" => vec![
                Op::CreateMultipartUpload,
                Op::UploadPartCopy,
                Op::CompleteMultipartUpload,
            ],
            _ => vec![Op::ComposeObject],
        };
        let large = composed.into_iter().map(|op| (5 * BLOCK, op));
        for (size, op) in [(10, Op::PutObject)].into_iter().chain(large) {
            let (key, bytes) = (fresh_key(), pattern(size, 5));
            fake.faults(|f| f.lose_answer(op, 1));
            put(&store, &key, &bytes)
                .await
                .unwrap_or_else(|error| panic!("{op:?}: {error:?}"));
            assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
            // The same for an object of somebody else is still a conflict.
            fake.faults(|f| f.lose_answer(op, 1));
            let error = put(&store, &key, &bytes).await.expect_err("it exists");
            assert_eq!(error.kind(), ErrorKind::Conflict, "{op:?}");
            fake.faults(|f| f.clear());
        }
    }
}

#[tokio::test]
async fn throttling_is_waited_out_and_counted() {
    for (fake, store) in both().await {
        let (key, bytes) = (fresh_key(), pattern(5 * BLOCK, 7));
        fake.faults(|f| f.busy_next(Op::PutObject, 2, Duration::from_secs(1)));
        let began = std::time::Instant::now();
        put(&store, &key, &bytes).await.expect("tried again");
        assert!(began.elapsed() >= Duration::from_secs(1), "not waited");
        assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
        let retries = store.vitals().retries;
        assert!(retries.contains(&("throttled", 2)), "{retries:?}");
        // More patience than a caller has.
        fake.faults(|f| f.busy_next(Op::GetObject, 1, 2 * MINUTE));
        let error = store.get(&key, None).await.expect_err("busy");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
        assert!(error.retry_hint() >= Some(2 * MINUTE), "{error:?}");
    }
}

#[tokio::test]
async fn bytes_that_change_on_their_way_are_refused_and_leave_nothing() {
    for (fake, store) in both().await {
        for size in [1000, 5 * BLOCK] {
            let (key, bytes) = (fresh_key(), pattern(size, 8));
            fake.faults(|f| f.corrupt_request(500, 1));
            let error = store.put(&key, &content(facts(&key)), body(&bytes)).await;
            let error = error.expect_err("one bit was turned");
            assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
            nothing_is_left(&fake);
        }
    }
}

#[tokio::test]
async fn an_engine_that_takes_wrong_digests_for_right_ones_is_found_out() {
    let fake = started(FakeS3::builder().without_checksums()).await;
    let store = open_s3(&on_s3(&fake));
    for size in [1000, 5 * BLOCK] {
        let (key, bytes) = (fresh_key(), pattern(size, 8));
        fake.faults(|f| f.corrupt_request(500, 1));
        let error = store.put(&key, &content(facts(&key)), body(&bytes)).await;
        let error = error.expect_err("one bit was turned");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.detail().contains("damaged"), "{error:?}");
        nothing_is_left(&fake);
    }
}

#[tokio::test]
async fn an_object_with_damaged_bytes_is_deleted_by_a_later_try_where_the_first_is_refused() {
    let fake = started(FakeS3::builder().without_checksums()).await;
    let store = open_s3(&on_s3(&fake));
    let (key, bytes) = (fresh_key(), pattern(1000, 8));
    let damaged = async || {
        fake.reset_counts();
        fake.faults(|f| f.corrupt_request(500, 1));
        let error = store.put(&key, &content(facts(&key)), body(&bytes)).await;
        let error = error.expect_err("one bit was turned");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert!(error.detail().contains("damaged"), "{error:?}");
        fake.counts().of(Op::DeleteObject)
    };
    fake.faults(|f| f.fail_next(Op::DeleteObject, 2, 403, "AccessDenied"));
    assert_eq!(damaged().await, 3);
    nothing_is_left(&fake);
    // There is an end to it, and the error is the same.
    fake.deny([Op::DeleteObject]);
    assert_eq!(damaged().await, 3);
    assert!(fake.object(CONTAINER, key.as_str()).is_some());
}

#[tokio::test]
async fn a_failed_put_leaves_nothing_behind() {
    for (fake, store) in both().await {
        let bytes = pattern(6 * BLOCK, 9);
        let (key, told) = (fresh_key(), Error::new(ErrorKind::ClientGone, "gone"));
        let outcome = store
            .put(&key, &content(facts(&key)), failing_body(&bytes, told))
            .await;
        assert_eq!(outcome.expect_err("gone").kind(), ErrorKind::ClientGone);
        nothing_is_left(&fake);
        let last = match store.name() {
            "s3" => vec![
                Op::CreateMultipartUpload,
                Op::UploadPartCopy,
                Op::CompleteMultipartUpload,
            ],
            _ => vec![Op::ComposeObject],
        };
        for op in last.into_iter().chain([Op::PutObject]) {
            fake.faults(|f| f.fail_next(op, 1, 403, "AccessDenied"));
            let error = put(&store, &fresh_key(), &bytes)
                .await
                .expect_err("on order");
            assert_eq!(
                error.kind(),
                ErrorKind::UpstreamRefused,
                "{op:?}: {error:?}"
            );
            nothing_is_left(&fake);
            fake.faults(|f| f.clear());
        }
        interrupt_put(&store, &key, &bytes).await;
        assert!(fake.counts().objects > 0, "pieces");
        store.discard(&key).await.expect("discarded");
        nothing_is_left(&fake);
    }
}

#[tokio::test]
async fn parts_of_an_upload_become_few_and_abort_leaves_none() {
    for (fake, store) in both().await {
        let key = fresh_key();
        let plan = content(facts(&key));
        let parts = store.multipart().expect("it takes parts");
        let upload = parts.begin(&key, &plan).await.expect("begun");
        let bytes = pattern(40 * BLOCK, 1);
        let part = Part {
            number: 10_000,
            offset: 0,
            size: 40 * BLOCK,
        };
        let stored = parts.put_part(&upload, part, &plan.blocks, body(&bytes));
        stored.await.expect("a part");
        assert_eq!(fake.counts().objects, 4);
        parts.abort(&upload).await.expect("aborted");
        nothing_is_left(&fake);
    }
}

// Reads.

#[tokio::test]
async fn a_download_that_breaks_is_resumed_and_another_version_is_never_mixed_in() {
    for (fake, store) in both().await {
        let (key, bytes) = (fresh_key(), pattern(40 * BLOCK, 10));
        put(&store, &key, &bytes).await.expect("put");
        fake.faults(|f| f.cut_response(10 * BLOCK, 2));
        let object = store.get(&key, None).await.expect("get");
        assert!(object.body.collect(usize::MAX).await.expect("resumed") == bytes);
        assert!(store.vitals().retries.contains(&("resumed", 2)));

        fake.faults(|f| f.cut_response(BLOCK, 1));
        let object = store.get(&key, None).await.expect("get");
        fake.put_object(CONTAINER, key.as_str(), pattern(40 * BLOCK, 11));
        let error = object
            .body
            .collect(usize::MAX)
            .await
            .expect_err("another version");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
    }
}

#[tokio::test]
async fn what_others_put_is_read_and_listed_without_facts() {
    for (fake, store) in both().await {
        fake.put_object(CONTAINER, "attachment/strange.png", "bytes");
        fake.put_object(CONTAINER, "elsewhere/x", "bytes");
        let listed = list(&store, None).await.expect("list");
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].facts.clone(), listed[0].size), (None, 5));
        let found = get(&store, &listed[0].key, None).await.expect("get");
        assert_eq!(found.bytes, "bytes");
    }
}

#[tokio::test]
async fn what_only_its_writer_can_read_is_listed_all_the_same_and_a_look_at_it_says_why_not() {
    let fake = fake_s3().await;
    let (store, bytes) = (open_s3(&on_s3(&fake)), pattern(1000, 12));
    let mut keys = [fresh_key(), fresh_key(), fresh_key()];
    keys.sort();
    for key in &keys {
        put(&store, key, &bytes).await.expect("put");
    }
    let foreign = &keys[1];
    fake.encrypt_with_customer_key(CONTAINER, foreign.as_str());
    let listed = list(&store, None).await.expect("to its end");
    let found: Vec<_> = listed.iter().map(|info| (&info.key, info.size)).collect();
    assert_eq!(found, [(&keys[0], 1000), (foreign, 1000), (&keys[2], 1000)]);
    let has_facts: Vec<bool> = listed.iter().map(|info| info.facts.is_some()).collect();
    assert_eq!(has_facts, [true, false, true]);
    assert_eq!((listed[1].sha256, listed[1].archived), (None, false));
    let outcomes = [
        store.head(foreign).await.map(drop),
        store.get(foreign, None).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.expect_err("nobody else has the key");
        assert_eq!(error.kind(), ErrorKind::CustomerKey, "{error:?}");
    }
    // Not every refusal of this status means that: a credential may have been renewed since.
    fake.faults(|f| f.fail_next(Op::HeadObject, 1, 400, "BadRequest"));
    let seen = store.head(&keys[0]).await.expect("the second look");
    assert_eq!(seen.map(|info| info.size), Some(1000));
}

// What a bucket may be.

#[tokio::test]
async fn a_missing_bucket_is_never_a_missing_object() {
    for (fake, store) in both().await {
        let key = fresh_key();
        put(&store, &key, &pattern(10, 1)).await.expect("put");
        fake.delete_bucket(CONTAINER);
        let content = content(facts(&key));
        let errors = [
            ("put", put(&store, &key, &pattern(10, 1)).await.map(drop)),
            ("get", store.get(&key, None).await.map(drop)),
            ("head", store.head(&key).await.map(drop)),
            ("delete", store.delete(&key).await),
            ("discard", store.discard(&key).await),
            ("list", list(&store, None).await.map(drop)),
            ("probe", store.probe().await.map(drop)),
            (
                "facts",
                store
                    .write_facts(&key, &content, &Default::default())
                    .await
                    .map(drop),
            ),
        ];
        for (operation, outcome) in errors {
            let error = outcome.expect_err(operation);
            assert_eq!(
                error.kind(),
                ErrorKind::ContainerNotFound,
                "{operation}: {error:?}"
            );
            let key = format!("storage.{}.bucket", store.name());
            assert!(error.detail().contains(&key), "{error}");
        }
    }
}

#[tokio::test]
async fn a_deletion_leaves_no_version_and_no_marker() {
    for (fake, store) in both().await {
        fake.set_versioning(CONTAINER, Versioning::Enabled);
        let (key, other) = (fresh_key(), fresh_key());
        put(&store, &key, &pattern(10, 1)).await.expect("put");
        put(&store, &other, &pattern(3 * BLOCK, 1))
            .await
            .expect("put");
        // Others wrote over it, and a tool deleted it once.
        fake.put_object(CONTAINER, key.as_str(), "over");
        fake.put_object(CONTAINER, &format!("{key}.old"), "beside");
        store.delete(&key).await.expect("deleted");
        let left: Vec<String> = fake.versions().into_iter().map(|v| v.key).collect();
        assert_eq!(left, {
            let mut kept = vec![format!("{key}.old"), other.to_string()];
            kept.sort();
            kept
        });
    }
}

#[tokio::test]
async fn a_deletion_keeps_all_whose_names_go_on_and_asks_no_more_for_thousands_of_them() {
    for (fake, store) in both().await {
        fake.set_versioning(CONTAINER, Versioning::Enabled);
        // As adopted files may be called.
        let key = ObjectKey::adopted("1").expect("a name");
        fake.put_object(CONTAINER, "1", "first");
        fake.put_object(CONTAINER, "1", "over");
        for number in 0..2500 {
            fake.put_object(CONTAINER, &format!("1{number}"), "beside");
        }
        fake.reset_counts();
        store.delete(&key).await.expect("deleted");
        let counts = fake.counts();
        assert_eq!(counts.objects, 2500);
        assert_eq!(counts.of(Op::ListObjectVersions), 1);
        assert_eq!(counts.of(Op::DeleteObject), 2);
        assert!(fake.versions().iter().all(|version| version.key != "1"));
    }
}

#[tokio::test]
async fn a_deletion_takes_more_versions_than_a_page_has() {
    let fake = fake_s3().await;
    fake.set_versioning(CONTAINER, Versioning::Enabled);
    let (store, key) = (open_s3(&on_s3(&fake)), fresh_key());
    for _ in 0..1100 {
        fake.put_object(CONTAINER, key.as_str(), "over");
    }
    let beside = format!("{key}.old");
    fake.put_object(CONTAINER, &beside, "beside");
    fake.reset_counts();
    store.delete(&key).await.expect("deleted");
    assert_eq!(fake.counts().of(Op::ListObjectVersions), 2);
    let left: Vec<String> = fake.versions().into_iter().map(|v| v.key).collect();
    assert_eq!(left, [beside]);
}

#[tokio::test]
async fn what_a_lock_keeps_is_retained_and_what_is_archived_says_so() {
    let fake = fake_s3().await;
    fake.set_versioning(CONTAINER, Versioning::Enabled);
    let (store, key) = (open_s3(&on_s3(&fake)), fresh_key());
    put(&store, &key, &pattern(10, 1)).await.expect("put");
    fake.lock_object(CONTAINER, key.as_str(), true);
    let error = store.delete(&key).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Retained, "{error:?}");
    fake.lock_object(CONTAINER, key.as_str(), false);
    fake.set_storage_class(CONTAINER, key.as_str(), "GLACIER");
    let error = store.get(&key, None).await.expect_err("archived");
    assert_eq!(error.kind(), ErrorKind::Archived, "{error:?}");
    assert!(
        store
            .head(&key)
            .await
            .expect("head")
            .expect("there")
            .archived
    );
    store
        .delete(&key)
        .await
        .expect("what is archived can be deleted");
}

#[tokio::test]
async fn of_a_store_that_ignores_conditions_attache_looks_before_and_after_it_writes() {
    let fake = started(FakeS3::builder().without_conditions()).await;
    let told = |store: S3Storage, about: &'static str| async move {
        let remarks = store.remarks(&fresh_key()).await;
        let found = remarks.into_iter().find(|remark| remark.about == about);
        found.expect("it is looked at").text
    };
    // Whoever relies on them is told of a fault, and not of a setting.
    let believing = told(open_s3(&on_s3(&fake)), IGNORES_CONDITIONS).await;
    assert!(
        believing.contains("IGNORED")
            && believing.contains("storage.s3.conditional_writes = false"),
        "{believing}"
    );
    let config = S3StoreConfig {
        conditional_writes: false,
        ..on_s3(&fake)
    };
    let store = open_s3(&config);
    let known = told(store.clone(), "conditional_writes").await;
    assert!(known.contains("ignored by the store"), "{known}");
    for size in [10, 5 * BLOCK] {
        let (key, bytes) = (fresh_key(), pattern(size, 1));
        put(&store, &key, &bytes).await.expect("put");
        let error = put(&store, &key, &pattern(size, 2))
            .await
            .expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    }
    let grant = PutGrant {
        lifetime: MINUTE,
        size: 1,
        content_type: String::new(),
        md5: None,
    };
    let offer = store.offer_put(&fresh_key(), &grant).await.expect("asked");
    assert!(offer.is_none(), "it would replace");
    let other = fake_s3().await;
    let honest = told(open_s3(&on_s3(&other)), "conditional_writes").await;
    assert!(honest.starts_with("honoured"), "{honest}");
}

// Who we are, and what is wrong.

#[tokio::test]
async fn what_is_configured_wrongly_is_named_and_no_secret_is() {
    const CANARY: &str = "canary/8Q+dGhlIHNlY3JldA";
    let fake = started(FakeS3::builder().bucket_elsewhere("faraway", "ap-south-1")).await;
    let good = on_s3(&fake);
    let cases = [
        (
            "storage.s3.secret_access_key",
            S3StoreConfig {
                secret_access_key: Some(Secret::new(CANARY)),
                ..good.clone()
            },
        ),
        (
            "storage.s3.access_key_id",
            S3StoreConfig {
                access_key_id: Some("AKIANOBODY".to_owned()),
                ..good.clone()
            },
        ),
        (
            "storage.s3.region",
            S3StoreConfig {
                region: Some("eu-west-9".to_owned()),
                ..good.clone()
            },
        ),
        (
            "storage.s3.region = \"ap-south-1\"",
            S3StoreConfig {
                bucket: Some("faraway".to_owned()),
                ..good.clone()
            },
        ),
    ];
    for (named, config) in cases {
        let store = open_s3(&config);
        let key = fresh_key();
        let outcomes = [
            store.probe().await.map(drop),
            put(&store, &key, &pattern(10, 1)).await.map(drop),
            store.get(&key, None).await.map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.expect_err(named);
            let report = format!("{error:?} | {}", error.report());
            assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{report}");
            assert!(
                error.detail().contains(named),
                "{named} is not named: {report}"
            );
            for hidden in [CANARY, fake.secret_access_key()] {
                assert!(!report.contains(hidden), "{report}");
            }
        }
    }
    fake.deny([Op::PutObject]);
    let error = put(&open_s3(&good), &fresh_key(), &pattern(1, 1))
        .await
        .expect_err("denied");
    assert!(error.detail().contains("s3:PutObject"), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_named() {
    for skew in [-3600, 3600] {
        let fake = fake_s3().await;
        fake.faults(|f| f.clock_skew_seconds = skew);
        let error = open_s3(&on_s3(&fake)).probe().await;
        let error = error.expect_err("a signature from another hour");
        assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{error:?}");
        let direction = if skew > 0 { "behind" } else { "ahead" };
        for word in ["clock", "NTP", direction] {
            assert!(error.detail().contains(word), "{word}: {error:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_says_what_to_check() {
    let fake = fake_s3().await;
    let untrusted = S3StoreConfig {
        ca_pem: None,
        ..on_s3(&fake)
    };
    let error = open_s3(&untrusted).probe().await.expect_err("not trusted");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    assert!(error.detail().contains("storage.s3.ca_file"), "{error}");
    let config = on_s3(&fake);
    fake.shutdown().await;
    let error = open_s3(&config).probe().await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    assert!(error.detail().contains("storage.s3.endpoint"), "{error}");
    assert!(error.retry_hint().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_and_urls_cost_one_token_and_a_revoked_one_costs_one_more() {
    let fake = started(FakeS3::builder().dialect(Dialect::Gcs)).await;
    let (store, key) = (open_gcs(&on_gcs(&fake)), fresh_key());
    fake.put_object(CONTAINER, key.as_str(), "bytes");
    let read = || async { get(&store, &key, None).await.expect("get") };
    join_all((0..100).map(|_| read())).await;
    assert_eq!(fake.counts().of(Op::Token), 1);
    signed(&store, &key, &grant()).await;
    fake.revoke_tokens();
    join_all((0..50).map(|_| read())).await;
    assert_eq!(fake.counts().of(Op::Token), 2);
    let lease = &store.vitals().leases[0];
    assert_eq!(lease.name, "gcs_token");
    assert!(lease.remaining_s > Some(3000.0), "{lease:?}");
}

#[tokio::test]
async fn a_bucket_may_stand_in_the_host() {
    let fake = fake_s3().await;
    let port = fake
        .endpoint()
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let config = S3StoreConfig {
        endpoint: Some(format!("https://localhost:{port}")),
        path_style: Some(false),
        ..on_s3(&fake)
    };
    let (by_path, store, key) = (open_s3(&on_s3(&fake)), open_s3(&config), fresh_key());
    let bytes = pattern(3 * BLOCK, 1);
    put(&by_path, &key, &bytes).await.expect("put");
    let url = signed(&store, &key, &grant()).await.0;
    let host = format!("{CONTAINER}.localhost:{port}");
    let rest = url.strip_prefix(&format!("https://{host}/")).expect(&url);
    assert!(rest.starts_with(&format!("{key}?")), "{url}");
    // By its address: names below localhost are nothing to some resolvers.
    let there = format!("{}/{rest}", fake.plain_endpoint());
    let reply = common::send("GET", &there, &[("host", host)], pattern(0, 0), None).await;
    assert_eq!(reply.status, 200);
}

/// What platforms give: web identity, containers, machines. Counts what was asked of it.
async fn platform(
    fake: &FakeS3,
    lives: time::Duration,
) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::Ordering;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let ends = (OffsetDateTime::now_utc() + lives)
        .format(&time::format_description::well_known::Rfc3339)
        .expect("a time");
    let (id, secret) = (fake.access_key_id(), fake.secret_access_key());
    let json = format!(
        "{{\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"{secret}\",\"Token\":\"session\",\"Expiration\":\"{ends}\"}}"
    );
    let xml = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>session</SessionToken><Expiration>{ends}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    let issued = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = issued.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut buffer = [0; 4096];
                match client.read(&mut buffer).await {
                    Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let line = request.lines().next().unwrap_or_default();
            let has = |text: &str| request.to_ascii_lowercase().contains(text);
            let (status, body) = match line {
                line if line.starts_with("POST / ") && has("webidentitytoken=jwt") => {
                    (200, xml.as_str())
                }
                line if line.starts_with("GET /creds ") && has("authorization: jwt") => {
                    (200, json.as_str())
                }
                line if line.starts_with("PUT /latest/api/token ") => (200, "metadata-token"),
                line if line.starts_with("GET /latest/meta-data/iam/security-credentials/ ") => {
                    (200, "role")
                }
                line if line
                    .starts_with("GET /latest/meta-data/iam/security-credentials/role ")
                    && has("x-aws-ec2-metadata-token: metadata-token") =>
                {
                    (200, json.as_str())
                }
                _ => (
                    403,
                    "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
                ),
            };
            if body == json || body == xml {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}"), issued)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn what_a_platform_gives_is_fetched_once_and_again_before_it_ends() {
    use attache::storage::s3::S3CredentialKind;
    use std::sync::atomic::Ordering;

    let fake = fake_s3().await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "jwt\n").expect("written");
    let token = token.to_str().map(str::to_owned);
    for kind in [
        S3CredentialKind::WebIdentity,
        S3CredentialKind::Container,
        S3CredentialKind::Instance,
    ] {
        let (platform, issued) = platform(&fake, time::Duration::hours(1)).await;
        let nothing = S3StoreConfig {
            access_key_id: None,
            secret_access_key: None,
            ..on_s3(&fake)
        };
        let config = match kind {
            S3CredentialKind::WebIdentity => S3StoreConfig {
                role_arn: Some("arn:aws:iam::1:role/x".to_owned()),
                web_identity_token_file: token.clone(),
                sts_endpoint: Some(platform),
                ..nothing
            },
            S3CredentialKind::Container => S3StoreConfig {
                container_credentials_uri: Some(format!("{platform}/creds")),
                container_authorization_token_file: token.clone(),
                ..nothing
            },
            _ => S3StoreConfig {
                credential: kind,
                metadata_endpoint: Some(platform),
                ..nothing
            },
        };
        assert_eq!(config.credential_in_use(), kind);
        let (store, key) = (open_s3(&config), fresh_key());
        put(&store, &key, &pattern(5 * BLOCK, 1))
            .await
            .expect("put");
        let (url, _) = signed(&store, &key, &grant()).await;
        assert!(url.contains("X-Amz-Security-Token=session"));
        let long = Grant {
            lifetime: 120 * MINUTE,
            ..grant()
        };
        let offer = store.offer(&key, &long).await.expect("asked");
        assert!(offer.is_none(), "it would outlive what signs it");
        assert_eq!(issued.load(Ordering::Relaxed), 1, "{kind}");
        let lease = &store.vitals().leases[0];
        assert_eq!(
            (lease.name, lease.source.as_str()),
            ("s3_credential", kind.as_str())
        );
        assert!(lease.remaining_s > Some(3500.0), "{lease:?}");
    }
}

#[tokio::test]
async fn a_platform_that_gives_nothing_is_named_with_the_cure() {
    let fake = fake_s3().await;
    let (platform, _) = platform(&fake, time::Duration::hours(1)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter2").expect("written");
    let token = token.to_str().map(str::to_owned);
    let nothing = S3StoreConfig {
        access_key_id: None,
        secret_access_key: None,
        ..on_s3(&fake)
    };
    let cases = [
        (
            "storage.s3.role_arn",
            S3StoreConfig {
                role_arn: Some("arn:aws:iam::1:role/x".to_owned()),
                web_identity_token_file: token.clone(),
                sts_endpoint: Some(platform.clone()),
                ..nothing.clone()
            },
        ),
        (
            "storage.s3.container_authorization_token_file",
            S3StoreConfig {
                container_credentials_uri: Some(format!("{platform}/creds")),
                container_authorization_token_file: token,
                ..nothing.clone()
            },
        ),
        (
            "storage.s3.container_credentials_uri",
            S3StoreConfig {
                container_credentials_uri: Some("http://example.org/creds".to_owned()),
                ..nothing
            },
        ),
    ];
    for (named, config) in cases {
        let error = open_s3(&config).probe().await.expect_err("no credential");
        let report = error.report();
        assert!(error.detail().contains(named), "{named}: {report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

#[tokio::test]
async fn pieces_that_an_interrupted_put_left_beside_its_object_go_without_it() {
    for (fake, store) in both().await {
        let (key, other) = (fresh_key(), fresh_key());
        put(&store, &key, &pattern(10, 1)).await.expect("put");
        let piece = |key: &ObjectKey| format!("attache/parts/{key}/0123/00000");
        fake.put_object(CONTAINER, &piece(&key), "left");
        fake.put_object(CONTAINER, &piece(&other), "of another");
        store.tidy_up(&key).await.expect("tidied");
        assert!(fake.object(CONTAINER, &piece(&key)).is_none());
        assert!(fake.object(CONTAINER, &piece(&other)).is_some());
        let whole = get(&store, &key, None).await.expect("it stays");
        assert!(whole.bytes == pattern(10, 1));
    }
}
