//! Everything that can be made to break does break, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Ask, eventually, get, put, put_block, start};
use fake_azure::{Action, AnswerFault, Op, Stage};
use http_body_util::BodyExt as _;

#[tokio::test]
async fn answers_fail_as_often_as_ordered() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    fake.faults(|f| f.busy_next(Op::GetBlob, 2, Duration::from_secs(7)));
    for _ in 0..2 {
        let reply = get(&fake, "a").send().await;
        assert_eq!((reply.status, reply.code()), (503, "ServerBusy"));
        assert_eq!(reply.header("retry-after"), "7");
    }
    assert_eq!(get(&fake, "a").send().await.status, 200);
    assert_eq!(fake.counts().faults_fired, 2);

    fake.faults(|f| f.fail(None, 0.5, 500, "InternalError"));
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(get(&fake, "a").send().await.status == 500);
    }
    assert!((8..32).contains(&failed), "{failed}");
    fake.faults(|f| f.clear());
    assert_eq!(get(&fake, "a").send().await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_work_done() {
    let fake = start().await;
    fake.faults(|f| f.lose_answer(Op::PutBlob, 1));
    let once = || put(&fake, "a", "x").header("if-none-match", "*");
    assert!(once().try_send().await.is_err());
    assert_eq!(once().send().await.code(), "BlobAlreadyExists");
}

#[tokio::test]
async fn a_failure_after_the_body_leaves_nothing() {
    let fake = start().await;
    fake.faults(|f| {
        f.answers.push(AnswerFault {
            stage: Stage::AfterBody,
            remaining: Some(1),
            skip: 1,
            action: Action::Disconnect,
            ..AnswerFault::default()
        });
    });
    assert_eq!(put_block(&fake, "a", "1", "x").send().await.status, 201);
    assert!(put_block(&fake, "a", "2", "x").try_send().await.is_err());
    assert_eq!(fake.counts().uncommitted_blocks, 1);
    assert_eq!(put_block(&fake, "a", "2", "x").send().await.status, 201);
}

#[tokio::test]
async fn a_response_is_cut_after_so_many_bytes() {
    let fake = start().await;
    let bytes = Bytes::from(vec![7; 200_000]);
    fake.put_blob("files", "a", bytes.clone());
    fake.faults(|f| f.cut_response(100_000, 1));
    let (response, _open) = get(&fake, "a").open().await.unwrap();
    assert_eq!(response.headers()["content-length"], "200000");
    let mut body = response.into_body();
    let mut read = 0;
    let failed = loop {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.into_data().unwrap().len(),
            other => break other.is_some(),
        }
    };
    assert!(failed);
    assert_eq!(read, 100_000);
    assert_eq!(get(&fake, "a").send().await.body, bytes);
}

#[tokio::test]
async fn a_silent_response_ends_when_the_silence_is_lifted() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![7; 200_000]);
    fake.faults(|f| f.silence_response(70_000, 1));
    let (response, _open) = get(&fake, "a").open().await.unwrap();
    let mut body = response.into_body();
    let mut read = 0;
    while read < 70_000 {
        read += body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
    }
    assert_eq!(read, 70_000);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), body.frame())
            .await
            .is_err()
    );
    assert_eq!(fake.counts().open_reads, 1);
    fake.faults(|f| f.clear());
    assert!(body.frame().await.unwrap().is_err());
    eventually("the read is closed", || fake.counts().open_reads == 0).await;
}

#[tokio::test]
async fn a_corrupt_response_differs_in_one_bit() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; 200_000]);
    fake.faults(|f| f.corrupt_response(150_000, 1));
    let body = get(&fake, "a").send().await.body;
    assert_eq!(body.len(), 200_000);
    assert_eq!(body.iter().position(|b| *b != 0), Some(150_000));
    assert_eq!(body.iter().filter(|b| **b != 0).count(), 1);
}

#[tokio::test]
async fn uploads_are_cut_silenced_and_corrupted() {
    let fake = start().await;
    let bytes = || vec![0; 4_000_000];
    fake.faults(|f| f.cut_request(1_000_000, 1));
    assert!(put(&fake, "a", bytes()).try_send().await.is_err());
    let seen = fake.counts().bytes_in;
    assert!((1_000_000..4_000_000).contains(&seen), "{seen}");

    fake.faults(|f| f.silence_request(0, 1));
    let silent = put(&fake, "a", bytes()).try_send();
    assert!(
        tokio::time::timeout(Duration::from_millis(200), silent)
            .await
            .is_err()
    );
    assert_eq!(fake.counts().open_writes, 1);
    fake.faults(|f| f.clear());
    eventually("the write is closed", || fake.counts().open_writes == 0).await;
    assert!(fake.blobs().is_empty());

    fake.faults(|f| f.corrupt_request(3, 1));
    put(&fake, "a", "0000000").send().await;
    assert_eq!(fake.blob_bytes("files", "a").unwrap(), "0001000");
}

#[tokio::test]
async fn latency_and_throttle_take_time() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; 100_000]);
    fake.faults(|f| {
        f.latency_of_ms.insert(Op::GetBlobProperties, 150);
        f.download_bytes_per_second = Some(400_000);
    });
    let begun = Instant::now();
    Ask::new(&fake, "HEAD", "/files/a").send().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let begun = Instant::now();
    get(&fake, "a").send().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    fake.faults(|f| {
        f.clear();
        f.upload_bytes_per_second = Some(400_000);
    });
    let begun = Instant::now();
    put(&fake, "b", vec![0; 100_000]).send().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_skewed_clock_shows_in_the_date() {
    let fake = start().await;
    fake.faults(|f| f.clock_skew_seconds = -3600 * 24 * 365);
    let year = time::OffsetDateTime::now_utc().year();
    let reply = get(&fake, "a").anonymous().send().await;
    assert!(
        !reply.header("date").contains(&year.to_string()),
        "{}",
        reply.header("date")
    );
}

#[tokio::test]
async fn open_connections_are_those_that_are_open() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; LARGE]);
    let (response, open) = get(&fake, "a").open().await.unwrap();
    assert_eq!(fake.counts().connections_open, 1);
    assert_eq!(fake.counts().open_reads, 1);
    drop((response, open));
    eventually("the connection is closed", || {
        fake.counts().connections_open == 0
    })
    .await;
    assert_eq!(fake.counts().open_reads, 0);
    assert_eq!(fake.counts().connections_accepted, 1);
    fake.reset_counts();
    assert_eq!(fake.counts().connections_accepted, 0);
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_the_network_does() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; LARGE]);
    let (_response, _open) = get(&fake, "a").open().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = fake.counts().bytes_out;
    assert!(sent < 20_000_000, "{sent}");
}

#[tokio::test]
async fn other_processes_read_counts_and_set_faults() {
    let fake = start().await;
    let admin = fake.admin_endpoint().unwrap();
    let call = async |method, path: &str, body: &str| {
        let ask = Ask::url(&fake, method, format!("{admin}{path}")).anonymous();
        ask.body(body.to_owned()).send().await
    };
    let rule = r#"{"latency":1,"answers":[{"op":"PutBlob","remaining":1,"action":{"answer":{"status":500,"code":"InternalError"}}}]}"#;
    assert_eq!(call("POST", "/_faults", rule).await.status, 200);
    assert_eq!(put(&fake, "a", "x").send().await.status, 500);
    assert_eq!(put(&fake, "a", "x").send().await.status, 201);
    assert_eq!(
        call("POST", "/_faults", r#"{"no_such":1}"#).await.status,
        400
    );
    assert_eq!(
        call("POST", "/_faults", r#"{"clear":true}"#).await.status,
        200
    );
    let counts: serde_json::Value =
        serde_json::from_slice(&call("GET", "/_counts", "").await.body).unwrap();
    assert_eq!(counts["operations"]["PutBlob"], 2);
    assert_eq!(counts["blobs"], 1);
    assert_eq!(call("POST", "/_secrets", r#"["other"]"#).await.status, 200);
    assert!(!fake.counts().secrets[0].valid);
    assert_eq!(call("POST", "/_revoke", "").await.status, 200);
    assert!(
        call("GET", "/_blobs", "")
            .await
            .text()
            .contains("\"sha256\"")
    );
}

#[tokio::test]
async fn shutting_down_closes_everything() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; LARGE]);
    let (response, _open) = get(&fake, "a").open().await.unwrap();
    fake.shutdown().await;
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn connections_are_dropped_and_refused_on_order() {
    let fake = start().await;
    fake.put_blob("files", "a", vec![0; LARGE]);
    let (response, _open) = get(&fake, "a").open().await.unwrap();
    fake.drop_connections();
    assert!(response.into_body().collect().await.is_err());
    eventually("no connection is open", || {
        fake.counts().connections_open == 0
    })
    .await;
    assert_eq!(Ask::new(&fake, "HEAD", "/files/a").send().await.status, 200);

    fake.faults(|f| f.refuse_connections = true);
    let url = fake.plain_blob_endpoint().unwrap();
    let refused = Ask::url(&fake, "GET", format!("{url}/files/a")).shared_key();
    assert!(refused.try_send().await.is_err());
}

#[tokio::test]
async fn calls_are_remembered_with_what_they_asked_for() {
    let fake = start().await;
    fake.put_blob("files", "a b", "hello");
    let etag = fake.blob("files", "a b").unwrap().etag;
    get(&fake, "a%20b")
        .header("range", "bytes=1-")
        .header("if-match", &etag)
        .send()
        .await;
    fake.faults(|f| f.disconnect_next(Op::GetBlob, 1));
    assert!(get(&fake, "none").try_send().await.is_err());
    get(&fake, "none").send().await;
    let calls = fake.calls();
    assert_eq!(calls[0].op, Op::GetBlob);
    assert_eq!(calls[0].path, "/acme/files/a%20b");
    assert_eq!(calls[0].range.as_deref(), Some("bytes=1-"));
    assert_eq!(calls[0].if_match.as_ref(), Some(&etag));
    assert_eq!(calls[0].status, Some(206));
    assert_eq!(calls[1].status, None);
    assert_eq!(calls[2].code.as_deref(), Some("BlobNotFound"));
    fake.reset_counts();
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn a_refused_upload_gets_to_read_its_refusal() {
    let fake = start().await;
    let token = fake.issue_token();
    fake.revoke_tokens();
    for _ in 0..5 {
        let reply = put(&fake, "a", vec![0; 8_000_000])
            .token(&token)
            .send()
            .await;
        assert_eq!(reply.status, 401);
    }
    fake.faults(|f| f.fail_next(Op::PutBlob, 5, 503, "ServerBusy"));
    for _ in 0..5 {
        let reply = put(&fake, "a", vec![0; 8_000_000]).send().await;
        assert_eq!(reply.status, 503);
    }
}

/// More than the buffers of a loopback connection hold.
const LARGE: usize = 64_000_000;

#[tokio::test]
async fn a_swallowed_call_is_never_answered_and_the_next_one_is() {
    let fake = start().await;
    put(&fake, "a", "hello").send().await;
    fake.faults(|f| f.swallow_next(Op::GetBlob, 1));
    let swallowed = tokio::time::timeout(Duration::from_millis(200), get(&fake, "a").send());
    assert!(swallowed.await.is_err(), "it was answered");
    assert_eq!(get(&fake, "a").send().await.body, "hello");
}
