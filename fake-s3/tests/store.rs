//! What no SDK can be brought to do, and what breaks on order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::Ask;
use fake_s3::{FakeS3, Op};
use time::OffsetDateTime;

async fn start() -> FakeS3 {
    let builder = FakeS3::builder()
        .bucket("files")
        .bucket_elsewhere("far", "eu-west-1");
    builder.min_part_bytes(4).start().await.unwrap()
}

fn put<'a>(fake: &'a FakeS3, key: &str, body: &'static str) -> Ask<'a> {
    Ask::new(fake, "PUT", &format!("/files/{key}")).body(body)
}

fn get<'a>(fake: &'a FakeS3, key: &str) -> Ask<'a> {
    Ask::new(fake, "GET", &format!("/files/{key}"))
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_refused_and_not_stored() {
    let fake = start().await;
    let other = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let reply = put(&fake, "a", "hello").payload(other).send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "XAmzContentSHA256Mismatch")
    );
    assert!(fake.objects().is_empty());
    assert_eq!(
        put(&fake, "a", "hello")
            .payload("UNSIGNED-PAYLOAD")
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_a_quarter_of_an_hour_is_told_the_time_of_the_server() {
    let fake = start().await;
    let early = OffsetDateTime::now_utc() - time::Duration::minutes(16);
    let reply = get(&fake, "a").at(early).send().await;
    assert_eq!((reply.status, reply.code()), (403, "RequestTimeTooSkewed"));
    assert!(reply.element("ServerTime").ends_with('Z'));
    fake.faults(|f| f.clock_skew_seconds = 1200);
    assert_eq!(get(&fake, "a").send().await.code(), "RequestTimeTooSkewed");
    let ahead = OffsetDateTime::now_utc() + time::Duration::minutes(20);
    assert_eq!(get(&fake, "a").at(ahead).send().await.code(), "NoSuchKey");
}

#[tokio::test]
async fn a_wrong_region_is_told_the_right_one() {
    let fake = start().await;
    let reply = get(&fake, "a").region("us-west-2").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "AuthorizationHeaderMalformed")
    );
    assert_eq!(reply.element("Region"), "us-east-1");
    assert_eq!(reply.header("x-amz-bucket-region"), "us-east-1");
    let reply = Ask::new(&fake, "HEAD", "/far").send().await;
    assert_eq!(
        (reply.status, reply.header("x-amz-bucket-region")),
        (301, "eu-west-1")
    );
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn a_key_without_rights_is_refused_and_without_the_right_to_list_nothing_is_missing() {
    let fake = start().await;
    fake.put_object("files", "a", "hello");
    fake.deny([Op::PutObject, Op::ListObjectsV2]);
    assert_eq!(put(&fake, "b", "x").send().await.code(), "AccessDenied");
    assert_eq!(get(&fake, "a").send().await.status, 200);
    assert_eq!(get(&fake, "none").send().await.code(), "AccessDenied");
    fake.allow_all();
    assert_eq!(get(&fake, "none").send().await.code(), "NoSuchKey");
    assert_eq!(
        get(&fake, "a").anonymous().send().await.code(),
        "AccessDenied"
    );
}

#[tokio::test]
async fn a_bucket_in_the_name_of_the_host_is_found() {
    let fake = start().await;
    fake.put_object("files", "dir/a b", "hello");
    let host = fake.virtual_endpoint("files").replace("https://", "");
    let reply = Ask::new(&fake, "GET", "/dir/a%20b")
        .host(&host)
        .send()
        .await;
    assert_eq!((reply.status, reply.text()), (200, "hello"));
}

#[tokio::test]
async fn a_conditional_write_whose_key_is_deleted_meanwhile_is_a_conflict() {
    let fake = start().await;
    fake.faults(|f| f.upload_bytes_per_second = Some(4));
    let write = put(&fake, "a", "hello").header("if-none-match", "*");
    let (reply, ()) = tokio::join!(write.send(), async {
        while fake.counts().open_writes == 0 {
            tokio::task::yield_now().await;
        }
        fake.put_object("files", "a", "other");
        fake.delete_object("files", "a");
    });
    assert_eq!(
        (reply.status, reply.code()),
        (409, "ConditionalRequestConflict")
    );
    assert!(fake.objects().is_empty());
}

#[tokio::test]
async fn of_two_conditional_writes_of_a_key_one_is_stored() {
    let fake = start().await;
    let write = |body| put(&fake, "a", body).header("if-none-match", "*").send();
    let (one, two) = tokio::join!(write("one"), write("two"));
    let mut met = [one.status, two.status];
    met.sort_unstable();
    assert_eq!(met, [200, 412]);
    let kept = if one.status == 200 { "one" } else { "two" };
    assert_eq!(fake.object_bytes("files", "a").unwrap(), kept);
}

#[tokio::test]
async fn a_store_without_conditions_overwrites() {
    let fake = FakeS3::builder()
        .bucket("files")
        .without_conditions()
        .start()
        .await
        .unwrap();
    for body in ["one", "two"] {
        let write = put(&fake, "a", body).header("if-none-match", "*");
        assert_eq!(write.send().await.status, 200);
    }
    assert_eq!(fake.object_bytes("files", "a").unwrap(), "two");
}

#[tokio::test]
async fn answers_fail_are_late_and_are_lost_as_ordered() {
    let fake = start().await;
    fake.put_object("files", "a", "hello");
    fake.faults(|f| f.busy_next(Op::GetObject, 1, Duration::from_secs(7)));
    let reply = get(&fake, "a").send().await;
    assert_eq!(
        (reply.status, reply.code(), reply.header("retry-after")),
        (503, "SlowDown", "7")
    );
    fake.faults(|f| f.lose_answer(Op::PutObject, 1));
    assert!(put(&fake, "b", "stored").try_send().await.is_err());
    assert_eq!(fake.object_bytes("files", "b").unwrap(), "stored");
    fake.faults(|f| f.cut_response(2, 1));
    assert!(get(&fake, "a").try_send().await.is_err());
    fake.faults(|f| f.corrupt_response(1, 1));
    assert_eq!(get(&fake, "a").send().await.text(), "hdllo");
    fake.faults(|f| f.corrupt_request(0, 1));
    assert_eq!(
        put(&fake, "c", "x").send().await.code(),
        "XAmzContentSHA256Mismatch"
    );
    assert_eq!(fake.counts().faults_fired, 5);
    assert_eq!(get(&fake, "a").send().await.text(), "hello");
}

#[tokio::test]
async fn a_completion_may_fail_behind_a_200_and_be_repeated_where_that_is_remembered() {
    let builder = FakeS3::builder()
        .bucket("files")
        .remembers_completed_uploads();
    let fake = builder.start().await.unwrap();
    let begun = Ask::new(&fake, "POST", "/files/a?uploads=").send().await;
    let id = begun.element("UploadId").to_owned();
    let part = format!("/files/a?partNumber=1&uploadId={id}");
    let tag = Ask::new(&fake, "PUT", &part)
        .body("x")
        .send()
        .await
        .header("etag")
        .to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = || {
        Ask::new(&fake, "POST", &format!("/files/a?uploadId={id}"))
            .body(list.clone())
            .send()
    };
    fake.faults(|f| f.fail_next(Op::CompleteMultipartUpload, 1, 200, "InternalError"));
    let failed = complete().await;
    assert_eq!((failed.status, failed.code()), (200, "InternalError"));
    assert_eq!(fake.uploads().len(), 1);
    let first = complete().await;
    let second = complete().await;
    assert_eq!(
        (first.status, first.element("ETag")),
        (200, second.element("ETag"))
    );
    assert!(fake.uploads().is_empty());
}

#[tokio::test]
async fn browsers_may_write_from_the_origins_that_are_allowed() {
    let fake = start().await;
    let ask = || {
        let ask = Ask::new(&fake, "OPTIONS", "/files/a")
            .anonymous()
            .header("origin", "https://wiki.example");
        ask.header("access-control-request-method", "PUT").send()
    };
    assert_eq!(ask().await.status, 403);
    fake.set_cors_origins("files", ["https://wiki.example"]);
    let allowed = ask().await;
    assert_eq!(
        (
            allowed.status,
            allowed.header("access-control-allow-origin")
        ),
        (200, "https://wiki.example")
    );
}

#[tokio::test]
async fn what_is_encrypted_with_a_key_of_its_writer_is_listed_and_not_read() {
    let fake = start().await;
    fake.put_object("files", "a", "hello");
    fake.encrypt_with_customer_key("files", "a");
    let list = Ask::new(&fake, "GET", "/files?list-type=2").send().await;
    assert_eq!(list.element("Key"), "a");
    let reply = get(&fake, "a").send().await;
    assert_eq!((reply.status, reply.code()), (400, "InvalidRequest"));
    let head = Ask::new(&fake, "HEAD", "/files/a").send().await;
    assert_eq!((head.status, head.body.len()), (400, 0));
}
