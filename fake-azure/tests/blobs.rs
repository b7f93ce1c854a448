//! What the service does with blobs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::{Ask, base64, commit, element, get, put, put_block, start};
use fake_azure::{FakeAzure, Op, Retention, fill_pattern};

fn crc64(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes);
    base64(crc.to_le_bytes())
}

#[tokio::test]
async fn a_blob_comes_back_with_everything_it_was_stored_with() {
    let fake = start().await;
    let reply = put(&fake, "dir/na%20me%2B.txt", "hello")
        .header("x-ms-blob-content-type", "text/plain")
        .header("x-ms-blob-content-disposition", "inline")
        .header("x-ms-meta-owner", "page:1")
        .header("x-ms-content-crc64", crc64(b"hello"))
        .header("x-ms-client-request-id", "mine")
        .send()
        .await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("x-ms-client-request-id"), "mine");
    for method in ["GET", "HEAD"] {
        let got = Ask::new(&fake, method, "/files/dir/na%20me%2B.txt")
            .send()
            .await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("etag"), reply.header("etag"));
        assert_eq!(got.header("content-length"), "5");
        assert_eq!(got.header("content-type"), "text/plain");
        assert_eq!(got.header("content-disposition"), "inline");
        assert_eq!(got.header("x-ms-meta-owner"), "page:1");
        assert_eq!(got.header("content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert!(!got.header("x-ms-request-id").is_empty());
    }
    let info = fake.blob("files", "dir/na me+.txt").unwrap();
    assert_eq!(info.len, 5);
    assert_eq!(info.metadata["owner"], "page:1");
    assert!(info.sha256.unwrap().starts_with("2cf24dba"));
}

#[tokio::test]
async fn checksums_that_do_not_fit_keep_the_blob_out() {
    let fake = start().await;
    let md5 = put(&fake, "a", "hello")
        .header("content-md5", base64([0; 16]))
        .send()
        .await;
    assert_eq!((md5.status, md5.code()), (400, "Md5Mismatch"));
    let crc = put_block(&fake, "a", "1", "hello")
        .header("x-ms-content-crc64", crc64(b"other"))
        .send()
        .await;
    assert_eq!((crc.status, crc.code()), (400, "Crc64Mismatch"));
    assert!(fake.blobs().is_empty());
}

#[tokio::test]
async fn blocks_become_a_blob_when_they_are_listed() {
    let fake = start().await;
    for (id, text) in [("1", "aaa"), ("2", "bb"), ("3", "c")] {
        let reply = put_block(&fake, "a", id, text).send().await;
        assert_eq!(reply.status, 201);
        assert_eq!(reply.header("x-ms-content-crc64"), crc64(text.as_bytes()));
    }
    assert_eq!(fake.counts().uncommitted_blocks, 3);
    assert_eq!(get(&fake, "a").send().await.code(), "BlobNotFound");
    let list = get(&fake, "a?comp=blocklist&blocklisttype=all")
        .send()
        .await;
    assert!(
        list.text()
            .contains("<UncommittedBlocks><Block><Name>MQ==</Name><Size>3</Size></Block>")
    );

    let blocks = [("Latest", "2"), ("Uncommitted", "1")];
    assert_eq!(commit(&fake, "a", &blocks).send().await.status, 201);
    assert_eq!(get(&fake, "a").send().await.text(), "bbaaa");
    assert_eq!(fake.counts().uncommitted_blocks, 0);
    assert_eq!(fake.blob("files", "a").unwrap().blocks, 2);
    assert_eq!(get(&fake, "a").send().await.header("content-md5"), "");

    put_block(&fake, "a", "4", "dd").send().await;
    let blocks = [("Committed", "2"), ("Latest", "4")];
    assert_eq!(commit(&fake, "a", &blocks).send().await.status, 201);
    assert_eq!(get(&fake, "a").send().await.text(), "bbdd");
}

#[tokio::test]
async fn block_lists_and_ids_are_checked() {
    let fake = start().await;
    put_block(&fake, "a", "1", "aaa").send().await;
    let unknown = commit(&fake, "a", &[("Latest", "9")]).send().await;
    assert_eq!((unknown.status, unknown.code()), (400, "InvalidBlockList"));
    let longer = put_block(&fake, "a", "22", "x").send().await;
    assert_eq!((longer.status, longer.code()), (400, "InvalidBlobOrBlock"));
    let bad = Ask::new(&fake, "PUT", "/files/a?comp=block&blockid=%21")
        .body("x")
        .send()
        .await;
    assert_eq!(bad.status, 400);
    put(&fake, "a", "whole").send().await;
    assert_eq!(fake.counts().uncommitted_blocks, 0);
}

#[tokio::test]
async fn writes_honour_conditions() {
    let fake = start().await;
    let once = || put(&fake, "a", "x").header("if-none-match", "*");
    let first = once().send().await;
    assert_eq!(first.status, 201);
    let second = once().send().await;
    assert_eq!((second.status, second.code()), (409, "BlobAlreadyExists"));
    put_block(&fake, "a", "1", "y").send().await;
    let list = commit(&fake, "a", &[("Latest", "1")])
        .header("if-none-match", "*")
        .send()
        .await;
    assert_eq!((list.status, list.code()), (409, "BlobAlreadyExists"));
    let stale = put(&fake, "a", "z")
        .header("if-match", "\"0x0\"")
        .send()
        .await;
    assert_eq!((stale.status, stale.code()), (412, "ConditionNotMet"));
    let fresh = put(&fake, "a", "z")
        .header("if-match", first.header("etag"))
        .send()
        .await;
    assert_eq!(fresh.status, 201);
    assert_eq!(
        put(&fake, "b", "z")
            .header("if-match", "*")
            .send()
            .await
            .status,
        412
    );
}

#[tokio::test]
async fn reads_honour_conditions() {
    let fake = start().await;
    let stored = put(&fake, "a", "hello").send().await;
    let etag = stored.header("etag");
    assert_eq!(
        get(&fake, "a").header("if-match", etag).send().await.status,
        200
    );
    assert_eq!(
        get(&fake, "a")
            .header("if-match", "\"no\"")
            .send()
            .await
            .status,
        412
    );
    let unchanged = get(&fake, "a").header("if-none-match", etag).send().await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), etag);
    let since = stored.header("last-modified");
    assert_eq!(
        get(&fake, "a")
            .header("if-modified-since", since)
            .send()
            .await
            .status,
        304
    );
    put(&fake, "a", "newer").send().await;
    assert_eq!(
        get(&fake, "a").header("if-match", etag).send().await.status,
        412
    );
}

#[tokio::test]
async fn ranges_are_cut_to_the_blob() {
    let fake = start().await;
    put(&fake, "a", "0123456789").send().await;
    put(&fake, "empty", "").send().await;
    let range = async |text: &str| get(&fake, "a").header("range", text).send().await;
    let middle = range("bytes=2-4").await;
    assert_eq!((middle.status, middle.text()), (206, "234"));
    assert_eq!(middle.header("content-range"), "bytes 2-4/10");
    assert_eq!(middle.header("content-md5"), "");
    assert_ne!(middle.header("x-ms-blob-content-md5"), "");
    assert_eq!(range("bytes=8-").await.text(), "89");
    assert_eq!(
        range("bytes=8-35184372088831")
            .await
            .header("content-range"),
        "bytes 8-9/10"
    );
    let beyond = range("bytes=10-").await;
    assert_eq!((beyond.status, beyond.code()), (416, "InvalidRange"));
    assert_eq!(beyond.header("content-range"), "bytes */10");
    assert_eq!(range("lines=1-2").await.status, 200);
    assert_eq!(
        get(&fake, "empty")
            .header("range", "bytes=0-")
            .send()
            .await
            .status,
        416
    );
    assert_eq!(get(&fake, "empty").send().await.status, 200);
    let own = get(&fake, "a")
        .header("range", "bytes=0-0")
        .header("x-ms-range", "bytes=3-3");
    assert_eq!(own.send().await.text(), "3");
    let checked = get(&fake, "a")
        .header("range", "bytes=0-3")
        .header("x-ms-range-get-content-crc64", "true");
    assert_eq!(
        checked.send().await.header("x-ms-content-crc64"),
        crc64(b"0123")
    );
}

#[tokio::test]
async fn snapshots_keep_old_bytes_and_guard_the_blob() {
    let fake = start().await;
    put(&fake, "a", "old").send().await;
    let made = Ask::new(&fake, "PUT", "/files/a?comp=snapshot")
        .send()
        .await;
    let snapshot = made.header("x-ms-snapshot").to_owned();
    fake.put_snapshot("files", "a").unwrap();
    put(&fake, "a", "new").send().await;
    assert_eq!(
        get(&fake, &format!("a?snapshot={snapshot}"))
            .send()
            .await
            .text(),
        "old"
    );
    let plain = Ask::new(&fake, "DELETE", "/files/a").send().await;
    assert_eq!((plain.status, plain.code()), (409, "SnapshotsPresent"));
    let one = Ask::new(&fake, "DELETE", &format!("/files/a?snapshot={snapshot}"));
    assert_eq!(one.send().await.status, 202);
    let all = Ask::new(&fake, "DELETE", "/files/a").header("x-ms-delete-snapshots", "include");
    assert_eq!(all.send().await.status, 202);
    assert!(fake.blobs().is_empty());
    let gone = Ask::new(&fake, "DELETE", "/files/a").send().await;
    assert_eq!((gone.status, gone.code()), (404, "BlobNotFound"));
    let head = Ask::new(&fake, "HEAD", "/files/a").send().await;
    assert_eq!(
        (head.status, head.code(), head.body.len()),
        (404, "BlobNotFound", 0)
    );
}

#[tokio::test]
async fn listings_page_through_every_name_once() {
    let fake = start().await;
    for n in 0..7 {
        fake.put_blob("files", &format!("p/{n}"), "x");
    }
    fake.put_blob("files", "other", "x");
    fake.put_blob("files", "p/9<&\u{1}", "x");
    put(&fake, "p/0", "x")
        .header("x-ms-meta-a", "1<2")
        .send()
        .await;
    put_block(&fake, "p/8", "1", "x").send().await;
    let mut names = Vec::new();
    let mut marker = String::new();
    let mut pages = 0;
    loop {
        let path = format!(
            "/files?restype=container&comp=list&prefix=p%2F&maxresults=3&include=metadata,uncommittedblobs&marker={}",
            common::encode(&marker)
        );
        let page = Ask::new(&fake, "GET", &path).send().await;
        assert_eq!(page.status, 200, "{}", page.text());
        names.extend(page.text().split("<Blob>").skip(1).map(|b| {
            b.split_once("</Name>")
                .unwrap()
                .0
                .rsplit('>')
                .next()
                .unwrap()
                .to_owned()
        }));
        pages += 1;
        if pages == 1 {
            assert_eq!(element(page.text(), "a"), "1&lt;2");
        }
        if page.text().contains("<NextMarker />") {
            break;
        }
        marker = element(page.text(), "NextMarker").to_owned();
    }
    assert_eq!(pages, 3);
    assert_eq!(names.len(), 9);
    assert_eq!(names[7], "p/8");
    assert_eq!(names[8], "p%2F9%3C%26%01");

    let folded = Ask::new(
        &fake,
        "GET",
        "/files?restype=container&comp=list&delimiter=%2F",
    )
    .send()
    .await;
    assert_eq!(folded.text().matches("<Blob>").count(), 1);
    assert_eq!(folded.text().matches("<BlobPrefix>").count(), 1);
}

#[tokio::test]
async fn listings_show_snapshots_on_request() {
    let fake = start().await;
    fake.put_blob("files", "a", "x");
    fake.put_snapshot("files", "a").unwrap();
    let all = Ask::new(
        &fake,
        "GET",
        "/files?restype=container&comp=list&include=snapshots",
    )
    .send()
    .await;
    assert_eq!(all.text().matches("<Name>a</Name>").count(), 2);
    assert_eq!(all.text().matches("<Snapshot>").count(), 1);
}

#[tokio::test]
async fn containers_come_and_go() {
    let fake = start().await;
    let container = |method| Ask::new(&fake, method, "/later?restype=container");
    assert_eq!(container("GET").send().await.code(), "ContainerNotFound");
    assert_eq!(container("PUT").send().await.status, 201);
    assert_eq!(
        container("PUT").send().await.code(),
        "ContainerAlreadyExists"
    );
    assert_eq!(container("HEAD").send().await.status, 200);
    assert!(
        Ask::new(&fake, "GET", "/?comp=list")
            .send()
            .await
            .text()
            .contains("<Name>later</Name>")
    );
    assert_eq!(container("DELETE").send().await.status, 202);
    let put = Ask::new(&fake, "PUT", "/later/a").header("x-ms-blob-type", "BlockBlob");
    assert_eq!(put.send().await.code(), "ContainerNotFound");
    let service = Ask::new(&fake, "GET", "/?restype=service&comp=properties")
        .send()
        .await;
    assert_eq!(service.status, 200);
}

#[tokio::test]
async fn metadata_and_properties_change_the_entity_tag() {
    let fake = start().await;
    let stored = put(&fake, "a", "x").send().await;
    let meta = Ask::new(&fake, "PUT", "/files/a?comp=metadata")
        .header("x-ms-meta-k", "v")
        .send()
        .await;
    assert_eq!(meta.status, 200);
    assert_ne!(meta.header("etag"), stored.header("etag"));
    assert_eq!(
        get(&fake, "a?comp=metadata")
            .send()
            .await
            .header("x-ms-meta-k"),
        "v"
    );
    let bad = Ask::new(&fake, "PUT", "/files/a?comp=metadata")
        .header("x-ms-meta-a-b", "v")
        .send()
        .await;
    assert_eq!(bad.code(), "InvalidMetadata");
    let props = Ask::new(&fake, "PUT", "/files/a?comp=properties")
        .header("x-ms-blob-content-type", "image/png");
    assert_eq!(props.send().await.status, 200);
    assert_eq!(
        get(&fake, "a").send().await.header("content-type"),
        "image/png"
    );
}

#[tokio::test]
async fn discarded_bytes_come_back_as_the_pattern_with_the_right_checksum() {
    let fake = FakeAzure::builder()
        .container("files")
        .retention(Retention::DiscardPattern)
        .start()
        .await
        .unwrap();
    let mut bytes = vec![0; 300_000];
    fill_pattern(0, &mut bytes);
    let (first, second) = bytes.split_at(123_457);
    put_block(&fake, "a", "1", Bytes::copy_from_slice(first))
        .send()
        .await;
    put_block(&fake, "a", "2", Bytes::copy_from_slice(second))
        .send()
        .await;
    commit(&fake, "a", &[("Latest", "1"), ("Latest", "2")])
        .send()
        .await;
    assert_eq!(get(&fake, "a").send().await.body, bytes);
    let info = fake.blob("files", "a").unwrap();
    assert_eq!((info.len, info.sha256), (300_000, None));
    assert_eq!(base64(info.crc64.to_le_bytes()), crc64(&bytes));
    assert_eq!(fake.counts().of(Op::PutBlock), 2);
    assert!((300_000..300_200).contains(&fake.counts().bytes_in));
}

#[tokio::test]
async fn an_archived_blob_is_seen_and_deleted_and_neither_read_nor_replaced() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    fake.set_tier("files", "a", "Archive");
    let got = get(&fake, "a").send().await;
    assert_eq!((got.status, got.code()), (409, "BlobArchived"));
    let head = Ask::new(&fake, "HEAD", "/files/a").send().await;
    assert_eq!(
        (head.status, head.header("x-ms-access-tier")),
        (200, "Archive")
    );
    let over = put(&fake, "a", "other").send().await;
    assert_eq!((over.status, over.code()), (409, "BlobArchived"));
    let create = put(&fake, "a", "other").header("if-none-match", "*");
    assert_eq!(create.send().await.code(), "BlobAlreadyExists");
    let tier = Ask::new(&fake, "PUT", "/files/a?comp=tier").header("x-ms-access-tier", "Hot");
    assert_eq!(tier.send().await.status, 200);
    assert_eq!(get(&fake, "a").send().await.body, "hello");
    fake.set_tier("files", "a", "Archive");
    let gone = Ask::new(&fake, "DELETE", "/files/a").send().await;
    assert_eq!(gone.status, 202);
}

#[tokio::test]
async fn what_guards_a_blob_refuses_changes_and_deletion_and_lets_readers_in() {
    use fake_azure::Guard;
    let fake = start().await;
    for (guard, status, code) in [
        (Guard::Leased, 412, "LeaseIdMissing"),
        (Guard::RetentionPolicy, 409, "BlobImmutableDueToPolicy"),
        (Guard::LegalHold, 409, "BlobImmutableDueToLegalHold"),
    ] {
        for by_container in [false, true] {
            fake.put_blob("files", "a", "hello");
            match by_container {
                true => fake.guard_container("files", Some(guard)),
                false => fake.guard_blob("files", "a", Some(guard)),
            }
            for ask in [
                Ask::new(&fake, "DELETE", "/files/a"),
                put(&fake, "a", "other"),
                Ask::new(&fake, "PUT", "/files/a?comp=metadata").header("x-ms-meta-x", "y"),
            ] {
                let reply = ask.send().await;
                assert_eq!((reply.status, reply.code()), (status, code), "{guard:?}");
            }
            assert_eq!(get(&fake, "a").send().await.body, "hello");
            // A policy keeps what is there, and lets new blobs in.
            assert_eq!(put(&fake, "new", "x").send().await.status, 201);
            let policy = Ask::new(&fake, "HEAD", "/files?restype=container")
                .send()
                .await;
            let said = policy.header("x-ms-has-immutability-policy") == "true";
            assert_eq!(said, by_container && guard == Guard::RetentionPolicy);
            fake.guard_container("files", None);
            fake.guard_blob("files", "a", None);
            fake.delete_blob("files", "new");
        }
    }
}

#[tokio::test]
async fn a_blob_under_a_customer_key_is_refused_without_it_and_listed_without_metadata() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    fake.set_metadata("files", "a", &[("id", "secret")]);
    fake.guard_blob("files", "a", Some(fake_azure::Guard::CustomerKey));
    for method in ["GET", "HEAD"] {
        let reply = Ask::new(&fake, method, "/files/a").send().await;
        let expected = (409, "BlobUsesCustomerSpecifiedEncryption");
        assert_eq!((reply.status, reply.code()), expected);
    }
    let list = "/files?restype=container&comp=list&include=metadata";
    let text = Ask::new(&fake, "GET", list).send().await;
    assert!(text.text().contains("<Metadata Encrypted=\"true\" />"));
    assert!(!text.text().contains("secret"));
    let gone = Ask::new(&fake, "DELETE", "/files/a").send().await;
    assert_eq!(gone.status, 202);
}
