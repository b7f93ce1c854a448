//! Who may ask, and how refusals read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Ask, SECRET, base64_decode, element, encode, get, put, sign, start};
use fake_azure::{Entra, FakeAzure};
use std::time::Duration;
use time::OffsetDateTime;

async fn token_call(fake: &FakeAzure, proof: &str) -> common::Reply {
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        fake.authority_host(),
        fake.tenant_id()
    );
    let form = format!(
        "client_id={}&{proof}&grant_type=client_credentials&scope=https%3A%2F%2Fstorage.azure.com%2F.default",
        fake.client_id()
    );
    Ask::url(fake, "POST", url)
        .anonymous()
        .body(form)
        .send()
        .await
}

async fn token(fake: &FakeAzure) -> String {
    let reply = token_call(fake, &format!("client_secret={SECRET}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    value["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_secret_buys_a_token_that_opens_the_account() {
    let fake = start().await;
    let token = token(&fake).await;
    assert_eq!(
        put(&fake, "a", "hello").token(&token).send().await.status,
        201
    );
    let reply = get(&fake, "a").token(&token).send().await;
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    let counts = fake.counts();
    assert_eq!(counts.token_requests, 1);
    assert_eq!(counts.bearer_requests, 2);
    assert_eq!(counts.tokens_used[&1], 2);
    assert_eq!(counts.secrets[0].presented, 1);
    assert_eq!(counts.entra_connections_accepted, 1);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_the_words_of_entra() {
    let fake = start().await;
    let reply = token_call(&fake, "client_secret=wrong").await;
    assert_eq!(reply.status, 401);
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(value["error"], "invalid_client");
    assert_eq!(value["error_codes"][0], 7_000_215);
    assert_eq!(fake.counts().unknown_secrets_presented, 1);
}

#[tokio::test]
async fn a_rotated_secret_is_refused_and_its_use_is_seen() {
    let fake = start().await;
    fake.set_secrets(["new"]);
    assert_eq!(
        token_call(&fake, &format!("client_secret={SECRET}"))
            .await
            .status,
        401
    );
    assert_eq!(token_call(&fake, "client_secret=new").await.status, 200);
    let secrets = fake.counts().secrets;
    assert_eq!((secrets[0].valid, secrets[0].presented), (false, 1));
    assert_eq!((secrets[1].valid, secrets[1].presented), (true, 1));
}

#[tokio::test]
async fn an_assertion_is_taken_and_recorded() {
    let fake = start().await;
    let assertion = fake.issue_token();
    let proof = format!("client_assertion_type=urn&client_assertion={assertion}");
    assert_eq!(token_call(&fake, &proof).await.status, 200);
    assert_eq!(token_call(&fake, "client_assertion=x").await.status, 401);
    assert_eq!(fake.counts().assertions_presented, 2);
}

#[tokio::test]
async fn the_machine_endpoint_gives_tokens_too() {
    let fake = start().await;
    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com",
        fake.authority_host()
    );
    let reply = Ask::url(&fake, "GET", url.clone())
        .anonymous()
        .header("metadata", "true")
        .send()
        .await;
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let token = value["access_token"].as_str().unwrap();
    assert_eq!(put(&fake, "a", "x").token(token).send().await.status, 201);
    assert_eq!(
        Ask::url(&fake, "GET", url).anonymous().send().await.status,
        400
    );
}

#[tokio::test]
async fn bad_tokens_are_401_with_a_challenge() {
    let fake = start().await;
    let good = fake.issue_token();
    let reply = get(&fake, "a").token("a.b.c").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (401, "InvalidAuthenticationInfo")
    );
    assert!(
        reply
            .header("www-authenticate")
            .starts_with("Bearer authorization_uri=")
    );
    let tampered = good.replace('.', ".A");
    assert_eq!(get(&fake, "a").token(&tampered).send().await.status, 401);
    assert_eq!(get(&fake, "a").anonymous().send().await.status, 401);

    assert_eq!(get(&fake, "a").token(&good).send().await.status, 404);
    fake.revoke_tokens();
    assert_eq!(get(&fake, "a").token(&good).send().await.status, 401);
    assert_eq!(
        get(&fake, "a")
            .token(&fake.issue_token())
            .send()
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn tokens_expire_by_the_clock_of_the_blob_service() {
    let fake = start().await;
    fake.faults(|f| f.token_lifetime = Duration::from_secs(100));
    let token = fake.issue_token();
    assert_eq!(get(&fake, "a").token(&token).send().await.status, 404);
    fake.faults(|f| f.clock_skew_seconds = 101);
    let reply = get(&fake, "a").token(&token).send().await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("expired"));
}

#[tokio::test]
async fn a_bearer_token_over_plain_http_is_refused() {
    let fake = start().await;
    let url = format!("{}/files/a", fake.plain_blob_endpoint().unwrap());
    assert_eq!(Ask::url(&fake, "GET", url).send().await.status, 403);
}

#[tokio::test]
async fn entra_can_be_down_or_silent() {
    let fake = start().await;
    fake.faults(|f| f.entra = Entra::Unavailable);
    assert_eq!(token_call(&fake, "client_secret=s3cret").await.status, 503);
    fake.faults(|f| f.entra = Entra::Hang);
    let hung = token_call(&fake, "client_secret=s3cret");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), hung)
            .await
            .is_err()
    );
    fake.faults(|f| f.clear());
    assert_eq!(token_call(&fake, "client_secret=s3cret").await.status, 200);
}

#[tokio::test]
async fn shared_key_signs_every_part_of_a_request() {
    let fake = start().await;
    let name = "r%C3%A9sum%C3%A9%20x.pdf";
    assert_eq!(
        put(&fake, name, "hello")
            .header("x-ms-meta-a", "b")
            .shared_key()
            .send()
            .await
            .status,
        201
    );
    let reply = get(&fake, name)
        .header("range", "bytes=1-2")
        .shared_key()
        .send()
        .await;
    assert_eq!((reply.status, reply.text()), (206, "el"));
    let listing = Ask::new(&fake, "GET", "/files?restype=container&comp=list")
        .shared_key()
        .send()
        .await;
    assert!(listing.text().contains("résumé x.pdf"));
    assert_eq!(fake.counts().shared_key_requests, 3);

    let reply = get(&fake, name)
        .shared_key()
        .header("x-ms-extra", "unsigned")
        .send()
        .await;
    assert_eq!((reply.status, reply.code()), (403, "AuthenticationFailed"));
    let old = OffsetDateTime::now_utc() - time::Duration::minutes(16);
    assert_eq!(get(&fake, name).shared_key_at(old).send().await.status, 403);
}

#[tokio::test]
async fn shared_key_works_over_plain_http_and_buys_no_delegation_key() {
    let fake = start().await;
    let url = format!("{}/files/a", fake.plain_blob_endpoint().unwrap());
    let ask = Ask::url(&fake, "PUT", url)
        .header("x-ms-blob-type", "BlockBlob")
        .body("x");
    assert_eq!(ask.shared_key().send().await.status, 201);
    let ask =
        Ask::new(&fake, "POST", "/?restype=service&comp=userdelegationkey").body("<KeyInfo/>");
    assert_eq!(ask.shared_key().send().await.status, 403);
}

/// A delegation key as text, in the order of the string to sign.
struct Key {
    fields: [String; 6],
    value: Vec<u8>,
}

async fn delegation_key(fake: &FakeAzure, hours: i64) -> Key {
    let now = OffsetDateTime::now_utc();
    let text = format!(
        "<?xml version=\"1.0\"?><KeyInfo><Start>{}</Start><Expiry>{}</Expiry></KeyInfo>",
        iso(now - time::Duration::minutes(5)),
        iso(now + time::Duration::hours(hours)),
    );
    let reply = Ask::new(fake, "POST", "/?restype=service&comp=userdelegationkey")
        .body(text)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let names = [
        "SignedOid",
        "SignedTid",
        "SignedStart",
        "SignedExpiry",
        "SignedService",
        "SignedVersion",
    ];
    Key {
        fields: names.map(|name| element(reply.text(), name).to_owned()),
        value: base64_decode(element(reply.text(), "Value")),
    }
}

fn iso(at: OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.format(format).unwrap()
}

struct Sas<'a> {
    name: &'a str,
    permissions: &'a str,
    expiry: OffsetDateTime,
    protocol: &'a str,
    disposition: &'a str,
    version: &'a str,
}

impl Default for Sas<'_> {
    fn default() -> Self {
        Self {
            name: "a",
            permissions: "r",
            expiry: OffsetDateTime::now_utc() + time::Duration::minutes(2),
            protocol: "https",
            disposition: "",
            version: "2026-04-06",
        }
    }
}

impl Sas<'_> {
    fn query(&self, fake: &FakeAzure, key: &Key) -> String {
        let start = iso(OffsetDateTime::now_utc() - time::Duration::minutes(5));
        let expiry = iso(self.expiry);
        let resource = format!("/blob/{}/files/{}", fake.account(), self.name);
        let [oid, tid, skt, ske, sks, skv] = &key.fields;
        let mut lines = vec![
            self.permissions,
            &start,
            &expiry,
            &resource,
            oid,
            tid,
            skt,
            ske,
            sks,
            skv,
        ];
        lines.extend(["", "", ""]);
        if self.version >= "2025-07-05" {
            lines.extend(["", ""]);
        }
        lines.extend(["", self.protocol, self.version, "b", "", ""]);
        if self.version >= "2026-04-06" {
            lines.extend(["", ""]);
        }
        lines.extend(["", self.disposition, "", "", ""]);
        let signature = sign(&key.value, &lines.join("\n"));
        let mut query = format!(
            "sv={}&sr=b&st={start}&se={expiry}&sp={}&spr={}&skoid={oid}&sktid={tid}&skt={skt}&ske={ske}&sks={sks}&skv={skv}&sig={}",
            self.version,
            self.permissions,
            self.protocol,
            encode(&signature)
        );
        if !self.disposition.is_empty() {
            query += &format!("&rscd={}", encode(self.disposition));
        }
        query
    }
}

#[tokio::test]
async fn a_signed_url_reads_its_blob_with_the_headers_it_asks_for() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    let key = delegation_key(&fake, 12).await;
    let disposition = "attachment; filename=\"x y.txt\"";
    for version in ["2020-12-06", "2025-07-05", "2026-04-06"] {
        let sas = Sas {
            disposition,
            version,
            ..Sas::default()
        };
        let reply = get(&fake, &format!("a?{}", sas.query(&fake, &key)))
            .anonymous()
            .send()
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("content-disposition"), disposition);
    }
    assert_eq!(fake.counts().sas_requests, 3);
    assert_eq!(fake.counts().delegation_key_requests, 1);
    // A client that was redirected and sent its own token along.
    let query = Sas::default().query(&fake, &key);
    let reply = get(&fake, &format!("a?{query}")).send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "InvalidAuthenticationInfo")
    );
}

#[tokio::test]
async fn a_signed_url_that_was_changed_is_refused() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    fake.put_blob("files", "b", "other");
    let key = delegation_key(&fake, 12).await;
    let query = Sas::default().query(&fake, &key);
    let other_blob = get(&fake, &format!("b?{query}")).anonymous().send().await;
    let later = query.replace("&se=2", "&se=3");
    let wider = query.replace("&sp=r", "&sp=rw");
    for reply in [
        other_blob,
        get(&fake, &format!("a?{later}")).anonymous().send().await,
        get(&fake, &format!("a?{wider}")).anonymous().send().await,
        get(&fake, &format!("a?{query}&rsct=text%2Fhtml"))
            .anonymous()
            .send()
            .await,
    ] {
        assert_eq!((reply.status, reply.code()), (403, "AuthenticationFailed"));
        assert!(reply.text().contains("AuthenticationErrorDetail"));
    }
}

#[tokio::test]
async fn a_signed_url_allows_what_it_says_and_no_more() {
    let fake = start().await;
    fake.put_blob("files", "a", "hello");
    let key = delegation_key(&fake, 1).await;
    let now = OffsetDateTime::now_utc();

    let expired = Sas {
        expiry: now - time::Duration::seconds(1),
        ..Sas::default()
    };
    let reply = get(&fake, &format!("a?{}", expired.query(&fake, &key)))
        .anonymous()
        .send()
        .await;
    assert_eq!((reply.status, reply.code()), (403, "AuthenticationFailed"));

    let outlives = Sas {
        expiry: now + time::Duration::hours(2),
        ..Sas::default()
    };
    let reply = get(&fake, &format!("a?{}", outlives.query(&fake, &key)))
        .anonymous()
        .send()
        .await;
    assert!(reply.text().contains("key time frame"), "{}", reply.text());

    let query = Sas::default().query(&fake, &key);
    let ask = Ask::new(&fake, "DELETE", &format!("/files/a?{query}")).anonymous();
    assert_eq!(ask.send().await.code(), "AuthorizationPermissionMismatch");

    let plain = format!("{}/files/a?", fake.plain_blob_endpoint().unwrap());
    let reply = Ask::url(&fake, "GET", format!("{plain}{query}"))
        .anonymous()
        .send()
        .await;
    assert_eq!(reply.code(), "AuthorizationProtocolMismatch");
    let both = Sas {
        protocol: "https,http",
        ..Sas::default()
    }
    .query(&fake, &key);
    assert_eq!(
        Ask::url(&fake, "GET", format!("{plain}{both}"))
            .anonymous()
            .send()
            .await
            .status,
        200
    );

    fake.revoke_delegation_keys();
    assert_eq!(
        get(&fake, &format!("a?{query}"))
            .anonymous()
            .send()
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_signed_write_url_writes() {
    let fake = start().await;
    let key = delegation_key(&fake, 1).await;
    let query = Sas {
        permissions: "cw",
        ..Sas::default()
    }
    .query(&fake, &key);
    assert_eq!(
        put(&fake, &format!("a?{query}"), "x")
            .anonymous()
            .send()
            .await
            .status,
        201
    );
    assert_eq!(
        get(&fake, &format!("a?{query}"))
            .anonymous()
            .send()
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn delegation_keys_can_be_shorter_than_asked() {
    let fake = start().await;
    fake.faults(|f| f.delegation_key_lifetime = Duration::from_secs(600));
    let key = delegation_key(&fake, 12).await;
    assert!(key.fields[3] < iso(OffsetDateTime::now_utc() + time::Duration::seconds(601)));
}
