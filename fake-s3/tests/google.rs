//! The XML API of Google Cloud Storage: tokens, generations, and where it differs from Amazon.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{Ask, Reply};
use fake_s3::{Dialect, FakeS3, Op};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stand_in::wire::{base64url_encode, hex};
use time::OffsetDateTime;
use time::macros::format_description;

async fn start() -> FakeS3 {
    let builder = FakeS3::builder().dialect(Dialect::Gcs).bucket("files");
    builder.min_part_bytes(4).start().await.unwrap()
}

fn account(fake: &FakeS3) -> Value {
    serde_json::from_str(&fake.service_account_json()).unwrap()
}

fn signed(account: &Value, message: &str) -> Vec<u8> {
    let pem = account["private_key"].as_str().unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    signature
}

async fn token(fake: &FakeS3, life: i64) -> Reply {
    let account = account(fake);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({
        "iss": account["client_email"], "aud": account["token_uri"], "iat": now, "exp": now + life,
        "scope": "https://www.googleapis.com/auth/devstorage.read_write",
    });
    let head = base64url_encode(json!({"alg": "RS256", "typ": "JWT"}).to_string());
    let text = format!("{head}.{}", base64url_encode(claims.to_string()));
    let assertion = format!("{text}.{}", base64url_encode(signed(&account, &text)));
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
    );
    Ask::new(fake, "POST", "/_token")
        .anonymous()
        .body(form)
        .send()
        .await
}

fn ask<'a>(fake: &'a FakeS3, method: &'static str, path: &str) -> Ask<'a> {
    Ask::new(fake, method, path).bearer(&fake.issue_token())
}

#[tokio::test]
async fn an_assertion_of_the_account_buys_a_token_that_ends() {
    let fake = start().await;
    fake.put_object("files", "a", "hello");
    let bought: Value = serde_json::from_slice(&token(&fake, 3600).await.body).unwrap();
    let bought = bought["access_token"].as_str().unwrap().to_owned();
    let get = || Ask::new(&fake, "GET", "/files/a").bearer(&bought).send();
    assert_eq!(get().await.text(), "hello");
    fake.revoke_tokens();
    assert_eq!(get().await.status, 401);
    fake.faults(|f| f.token_lifetime = Duration::ZERO);
    let over: Value = serde_json::from_slice(&token(&fake, 3600).await.body).unwrap();
    let over = over["access_token"].as_str().unwrap();
    assert_eq!(
        Ask::new(&fake, "GET", "/files/a")
            .bearer(over)
            .send()
            .await
            .status,
        401
    );
    assert_eq!(token(&fake, 7200).await.status, 400);
    let counts = fake.counts();
    assert_eq!(
        (
            counts.token_requests,
            counts.tokens_issued,
            counts.of(Op::Token)
        ),
        (3, 2, 3)
    );
}

#[tokio::test]
async fn a_generation_that_is_not_there_any_more_keeps_an_object_as_it_is() {
    let fake = start().await;
    let put = |wanted: &str| {
        let put =
            ask(&fake, "PUT", "/files/user%2Fa%2Etxt").header("x-goog-if-generation-match", wanted);
        put.header("x-goog-meta-owner", "page:1")
            .body("hello")
            .send()
    };
    let first = put("0").await;
    assert_eq!(first.status, 200);
    let generation = first.header("x-goog-generation").to_owned();
    assert_eq!(put("0").await.code(), "PreconditionFailed");
    assert_eq!(put(&generation).await.status, 200);
    assert_eq!(put(&generation).await.status, 412);
    let info = fake.object("files", "user/a.txt").unwrap();
    assert_eq!(info.metadata["owner"], "page:1");
    let delete = |wanted: &str| {
        ask(&fake, "DELETE", "/files/user%2Fa.txt")
            .header("x-goog-if-generation-match", wanted)
            .send()
    };
    assert_eq!(delete(&generation).await.status, 412);
    assert_eq!(delete(&info.generation.to_string()).await.status, 204);
}

#[tokio::test]
async fn a_deletion_of_nothing_is_an_error_as_amazon_has_none() {
    let fake = start().await;
    let reply = ask(&fake, "DELETE", "/files/none").send().await;
    assert_eq!((reply.status, reply.code()), (404, "NoSuchKey"));
}

#[tokio::test]
async fn digests_in_googles_header_are_compared() {
    let fake = start().await;
    let put = |hash: &str| {
        ask(&fake, "PUT", "/files/a")
            .header("x-goog-hash", hash)
            .body("hello")
            .send()
    };
    assert_eq!(put("crc32c=AAAAAA==").await.code(), "BadDigest");
    assert!(fake.objects().is_empty());
    // Computed by another library: `google_crc32c.Checksum(b"hello")`, `hashlib.md5`.
    let right = put("crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==").await;
    assert_eq!(right.status, 200, "{}", right.text());
    let head = ask(&fake, "HEAD", "/files/a").send().await;
    assert_eq!(
        head.header("x-goog-hash"),
        "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg=="
    );
    assert_eq!(head.header("x-goog-stored-content-length"), "5");
    let beyond = ask(&fake, "GET", "/files/a")
        .header("range", "bytes=5-")
        .send()
        .await;
    assert_eq!(
        (beyond.status, beyond.code(), beyond.header("content-range")),
        (416, "InvalidRange", "bytes */5")
    );
}

#[tokio::test]
async fn an_upload_in_parts_has_no_md5_and_takes_no_preconditions() {
    let fake = start().await;
    let begun = ask(&fake, "POST", "/files/a?uploads").send().await;
    let id = begun.element("UploadId").to_owned();
    let mut list = String::new();
    for (number, body) in [(1, "aaaa"), (2, "b")] {
        let part = ask(
            &fake,
            "PUT",
            &format!("/files/a?partNumber={number}&uploadId={id}"),
        )
        .body(body);
        let tag = part.send().await.header("etag").to_owned();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let complete = || ask(&fake, "POST", &format!("/files/a?uploadId={id}")).body(list.clone());
    let guarded = complete()
        .header("x-goog-if-generation-match", "0")
        .send()
        .await;
    assert_eq!(guarded.status, 501);
    let done = complete().send().await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(!done.header("x-goog-hash").contains("md5"));
    assert_eq!(fake.object_bytes("files", "a").unwrap(), "aaaab");
}

#[tokio::test]
async fn a_signed_url_opens_what_it_was_signed_for() {
    let fake = start().await;
    fake.put_object("files", "ü .txt", "hello");
    let account = account(&fake);
    let host = fake.endpoint().replace("https://", "");
    let url = |life: i64, at: OffsetDateTime| {
        let date = at
            .format(format_description!(
                "[year][month][day]T[hour][minute][second]Z"
            ))
            .unwrap();
        let scope = format!("{}/auto/storage/goog4_request", &date[..8]);
        let email = account["client_email"]
            .as_str()
            .unwrap()
            .replace('@', "%40");
        let query = format!(
            "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential={email}%2F{}&X-Goog-Date={date}&X-Goog-Expires={life}&X-Goog-SignedHeaders=host&response-content-disposition=attachment",
            scope.replace('/', "%2F")
        );
        let canonical =
            format!("GET\n/files/%C3%BC%20.txt\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let to_sign = format!(
            "GOOG4-RSA-SHA256\n{date}\n{scope}\n{}",
            hex(Sha256::digest(canonical))
        );
        format!(
            "/files/%C3%BC%20.txt?{query}&X-Goog-Signature={}",
            hex(signed(&account, &to_sign))
        )
    };
    let now = OffsetDateTime::now_utc();
    let open = |path: String| Ask::new(&fake, "GET", &path).anonymous().send();
    let good = url(60, now);
    let opened = open(good.clone()).await;
    assert_eq!(
        (
            opened.status,
            opened.header("content-disposition"),
            opened.text()
        ),
        (200, "attachment", "hello")
    );
    assert_eq!(
        open(good.replace("attachment", "inline")).await.code(),
        "SignatureDoesNotMatch"
    );
    assert_eq!(
        open(url(60, now - time::Duration::minutes(2))).await.code(),
        "ExpiredToken"
    );
    assert_eq!(open(url(604_801, now)).await.status, 400);
}
