//! What is refused, and by which key.

use super::*;

fn complete() -> S3StoreConfig {
    S3StoreConfig {
        bucket: Some("files".to_owned()),
        region: Some("eu-central-1".to_owned()),
        access_key_id: Some("AKIA".to_owned()),
        secret_access_key: Some(Secret::new("hunter2")),
        ..S3StoreConfig::default()
    }
}

#[test]
fn a_bucket_of_amazon_is_named_in_the_host_and_another_one_in_the_path() {
    let amazon = complete().checked_place().expect("complete").base();
    assert_eq!(amazon.host, "files.s3.eu-central-1.amazonaws.com");
    let other = S3StoreConfig {
        endpoint: Some("http://127.0.0.1:9000".to_owned()),
        region: None,
        ..complete()
    };
    let place = other.checked_place().expect("complete");
    assert_eq!(place.region, "us-east-1");
    assert_eq!(place.base().path, "/files");
    let dotted = S3StoreConfig {
        bucket: Some("files.example.org".to_owned()),
        ..complete()
    };
    // No certificate is good for two names in a row.
    assert!(dotted.checked_place().expect("complete").path_style);
    let chosen = S3StoreConfig {
        path_style: Some(false),
        ..other
    };
    assert_eq!(
        chosen.checked_place().expect("complete").base().host,
        "files.127.0.0.1:9000"
    );
}

#[test]
fn every_fault_is_named_at_once() {
    let wrong = S3StoreConfig {
        bucket: Some("Files".to_owned()),
        region: Some("Frankfurt".to_owned()),
        endpoint: Some("http://s3.example.org".to_owned()),
        public_endpoint: Some("files".to_owned()),
        ..S3StoreConfig::default()
    };
    let error = wrong.checked_place().expect_err("faults");
    for key in [
        "bucket",
        "region",
        "endpoint",
        "public_endpoint",
        "access_key_id",
    ] {
        assert!(
            error.detail().contains(&format!("storage.s3.{key} ")),
            "{key}: {error}"
        );
    }
}

#[test]
fn the_first_credential_that_is_configured_is_used_and_the_machine_is_asked_only_when_told_to() {
    let nothing = S3StoreConfig {
        access_key_id: None,
        secret_access_key: None,
        ..complete()
    };
    let (key, what) = nothing.faults().remove(0);
    assert_eq!(key, "access_key_id");
    assert!(
        what.contains("storage.s3.credential = \"instance\""),
        "{what}"
    );
    let web = S3StoreConfig {
        web_identity_token_file: Some("/token".to_owned()),
        container_credentials_uri: Some("/v2".to_owned()),
        ..nothing.clone()
    };
    assert_eq!(web.credential_in_use(), S3CredentialKind::WebIdentity);
    assert_eq!(web.faults()[0].0, "role_arn");
    let machine = S3StoreConfig {
        credential: S3CredentialKind::Instance,
        ..nothing
    };
    assert_eq!(machine.faults(), []);
}
