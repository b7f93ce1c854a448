//! The stand-in before Amazon's own SDK, whose signatures and readings are nobody's here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;

use fake_s3::{FakeS3, Versioning};

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_aws_sees_what_s3_would_show_it_over_plain_http() {
    let fake = prepared().await;
    let endpoint = fake.plain_endpoint();
    run(&fake, &endpoint, None).await;
}

/// Over TLS the SDK frames its bodies and puts checksums behind them.
#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_of_aws_sees_what_s3_would_show_it_over_tls() {
    let fake = prepared().await;
    let certificate = std::env::temp_dir().join(format!("fake-s3-{}.pem", std::process::id()));
    std::fs::write(&certificate, fake.ca_pem()).unwrap();
    let endpoint = fake.endpoint();
    run(&fake, &endpoint, Some(certificate.to_str().unwrap())).await;
    std::fs::remove_file(certificate).unwrap();
}

async fn prepared() -> FakeS3 {
    let builder = FakeS3::builder().region("eu-central-1");
    let builder = builder
        .bucket("files")
        .bucket("kept")
        .bucket_elsewhere("elsewhere", "eu-west-1");
    let fake = builder.min_part_bytes(16).start().await.unwrap();
    fake.set_versioning("kept", Versioning::Enabled);
    fake.put_object("files", "archived", "cold");
    fake.set_storage_class("files", "archived", "GLACIER");
    fake.put_object("kept", "held", "held");
    fake.lock_object("kept", "held", true);
    fake
}

async fn run(fake: &FakeS3, endpoint: &str, certificate: Option<&str>) {
    let Some(clients) = test_support::s3_clients() else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto.py");
    let output = tokio::process::Command::new(clients.with_file_name("python"))
        .args(["-B", script])
        .env("S3_ENDPOINT", endpoint)
        .env("S3_KEY", fake.access_key_id())
        .env("S3_SECRET", fake.secret_access_key())
        .env("S3_CA", certificate.unwrap_or_default())
        .env_remove("HTTP_PROXY")
        .env_remove("HTTPS_PROXY")
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("all steps"),
        "{told}{error}"
    );
    assert_eq!(fake.uploads(), Vec::new());
    assert!(fake.counts().presigned_requests > 0);
}
