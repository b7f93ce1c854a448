//! Every credential, through `attache check` against a stand-in for Azure and Entra ID.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fake_azure::FakeAzure;
use support::command;

/// A certificate and its RSA key, made for this test alone.
const CERTIFICATE: &str = include_str!("fixtures/client-certificate.pem");

async fn start(folder: &Path) -> FakeAzure {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    std::fs::write(folder.join("ca.pem"), azure.ca_pem()).unwrap();
    azure
}

/// Runs `attache check` with these variables; the credential's line.
fn check(azure: &FakeAzure, folder: &Path, variables: &[(&str, &str)]) -> String {
    let output = command(folder, variables)
        .envs([
            ("ATTACHE_STORAGE__BACKEND", "azure"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
            ("AZURE_STORAGE_CONTAINER_NAME", "files"),
            ("ATTACHE_STORAGE__AZURE__ENDPOINT", &azure.blob_endpoint()),
            ("ATTACHE_STORAGE__AZURE__CA_FILE", "ca.pem"),
            ("AZURE_AUTHORITY_HOST", &azure.authority_host()),
        ])
        .args(["check", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: serde_json::Value = serde_json::from_str(&said).unwrap();
    let line = lines
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["step"] == "credential")
        .unwrap();
    line["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_signs_an_assertion() {
    let folder = tempfile::tempdir().unwrap();
    let azure = start(folder.path()).await;
    std::fs::write(folder.path().join("client.pem"), CERTIFICATE).unwrap();
    let variables = [
        ("AZURE_TENANT_ID", azure.tenant_id()),
        ("AZURE_CLIENT_ID", azure.client_id()),
        ("AZURE_CLIENT_CERTIFICATE_PATH", "client.pem"),
    ];
    let line = tokio::task::block_in_place(|| check(&azure, folder.path(), &variables));
    assert!(
        line.starts_with("client_certificate issued a token"),
        "{line}"
    );
    assert!(azure.counts().assertions_presented >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_identity_presents_its_federated_token() {
    let folder = tempfile::tempdir().unwrap();
    let azure = start(folder.path()).await;
    // Any well-formed JWT will do for the stand-in.
    std::fs::write(folder.path().join("token"), azure.issue_token()).unwrap();
    let variables = [
        ("AZURE_TENANT_ID", azure.tenant_id()),
        ("AZURE_CLIENT_ID", azure.client_id()),
        ("AZURE_FEDERATED_TOKEN_FILE", "token"),
    ];
    let line = tokio::task::block_in_place(|| check(&azure, folder.path(), &variables));
    assert!(
        line.starts_with("workload_identity issued a token"),
        "{line}"
    );
    assert!(azure.counts().assertions_presented >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_is_asked_where_the_platform_says() {
    let folder = tempfile::tempdir().unwrap();
    let azure = start(folder.path()).await;
    let endpoint = format!(
        "{}/metadata/identity/oauth2/token",
        azure.authority_host().trim_end_matches('/')
    );
    let variables = [
        ("IDENTITY_ENDPOINT", endpoint.as_str()),
        ("IDENTITY_HEADER", "a-header"),
    ];
    let line = tokio::task::block_in_place(|| check(&azure, folder.path(), &variables));
    assert!(
        line.starts_with("managed_identity issued a token, chosen by \"default\""),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_azure_cli_is_asked_if_somebody_is_logged_in() {
    let folder = tempfile::tempdir().unwrap();
    let azure = start(folder.path()).await;
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let az = bin.join("az");
    let answer = serde_json::json!({
        "accessToken": azure.issue_token(),
        "expires_on": time::OffsetDateTime::now_utc().unix_timestamp() + 3600,
        "tokenType": "Bearer",
    });
    std::fs::write(&az, format!("#!/bin/sh\ncat <<'EOF'\n{answer}\nEOF\n")).unwrap();
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let variables = [
        ("ATTACHE_STORAGE__AZURE__CREDENTIAL", "azure_cli"),
        ("PATH", &path),
    ];
    let line = tokio::task::block_in_place(|| check(&azure, folder.path(), &variables));
    assert!(line.starts_with("azure_cli issued a token"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_key_and_a_connection_string_sign_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let azure = start(folder.path()).await;
    let key = azure.account_key().to_owned();
    let string = azure.connection_string();
    let line = tokio::task::block_in_place(|| {
        check(
            &azure,
            folder.path(),
            &[("ATTACHE_STORAGE__AZURE__ACCOUNT_KEY", &key)],
        )
    });
    assert!(line.starts_with("account_key"), "{line}");
    let line = tokio::task::block_in_place(|| {
        check(
            &azure,
            folder.path(),
            &[("ATTACHE_STORAGE__AZURE__CONNECTION_STRING", &string)],
        )
    });
    assert!(line.starts_with("connection_string"), "{line}");
    let counts = azure.counts();
    assert_eq!(
        (counts.token_requests, counts.delegation_key_requests),
        (0, 0)
    );
}
