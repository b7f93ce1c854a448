//! The real binary on stand-ins for Amazon S3 and Google Cloud Storage, configured by what other tools read, too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use fake_s3::{Dialect, FakeS3, Op, Versioning};

/// A folder, and the variables of a process in it.
struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a command said, and how it ended.
struct Run {
    code: Option<i32>,
    out: Vec<u8>,
    text: String,
}

async fn fake(dialect: Dialect) -> FakeS3 {
    let builder = FakeS3::builder().dialect(dialect).bucket("files");
    builder.start().await.unwrap()
}

impl Place {
    fn s3(fake: &FakeS3) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), fake.ca_pem()).unwrap();
        let variables = vec![
            ("ATTACHE_STORAGE__BACKEND", "s3".to_owned()),
            ("ATTACHE_STORAGE__S3__BUCKET", "files".to_owned()),
            ("ATTACHE_STORAGE__S3__CA_FILE", "ca.pem".to_owned()),
            ("AWS_REGION", fake.region().to_owned()),
            ("AWS_ENDPOINT_URL", fake.endpoint()),
            ("AWS_ACCESS_KEY_ID", fake.access_key_id().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", fake.secret_access_key().to_owned()),
        ];
        Self { folder, variables }
    }

    fn gcs(fake: &FakeS3) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), fake.ca_pem()).unwrap();
        std::fs::write(folder.path().join("key.json"), fake.service_account_json()).unwrap();
        let variables = vec![
            ("ATTACHE_STORAGE__BACKEND", "gcs".to_owned()),
            ("ATTACHE_STORAGE__GCS__BUCKET", "files".to_owned()),
            ("ATTACHE_STORAGE__GCS__CA_FILE", "ca.pem".to_owned()),
            ("ATTACHE_STORAGE__GCS__ENDPOINT", fake.endpoint()),
            ("GOOGLE_APPLICATION_CREDENTIALS", "key.json".to_owned()),
        ];
        Self { folder, variables }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(set, _)| *set != name);
        self.variables.push((name, value.to_owned()));
    }

    /// Off the runtime that serves the stand-in.
    async fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables.iter().cloned());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Run {
            code: output.status.code(),
            text: format!("{out}{err}"),
            out: output.stdout,
        }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_and_says_what_the_settings_of_the_bucket_mean() {
    for dialect in [Dialect::S3, Dialect::Gcs] {
        let fake = fake(dialect).await;
        let place = match dialect {
            Dialect::S3 => Place::s3(&fake),
            _ => Place::gcs(&fake),
        };
        let run = place.run(&["check"]).await;
        assert_eq!(run.code, Some(0), "{}", run.text);
        assert!(!run.text.contains('✗'), "{}", run.text);
        for told in [
            "bucket \"files\"",
            "the store serves it",
            "the URL returned the same bytes, without a credential",
            "off: what is deleted is gone at once",
            "no rule for GET",
            "honoured: two uploads of one name cannot replace each other",
            "gone",
        ] {
            assert!(run.text.contains(told), "{told}: {}", run.text);
        }
        let credential = match dialect {
            Dialect::S3 => "access_key; it does not expire",
            _ => "file issued a token, chosen by \"default\", valid until",
        };
        assert!(run.text.contains(credential), "{}", run.text);
        assert!(!run.text.contains("-Signature="), "{}", run.text);
        assert_eq!(fake.counts().objects, 0, "the test files are deleted");

        fake.set_versioning("files", Versioning::Enabled);
        fake.set_cors_origins("files", ["https://wiki.example.org"]);
        let run = place.run(&["check"]).await;
        for told in [
            "enabled: attache deletes every version",
            "scripts of https://wiki.example.org may read",
        ] {
            assert!(run.text.contains(told), "{told}: {}", run.text);
        }
        assert!(fake.versions().is_empty(), "no version is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_fails_if_the_store_ignores_the_conditions_that_the_configuration_relies_on() {
    let builder = FakeS3::builder().bucket("files").without_conditions();
    let fake = builder.start().await.unwrap();
    let mut place = Place::s3(&fake);
    let run = place.run(&["check"]).await;
    assert_eq!(run.code, Some(1), "{}", run.text);
    for told in [
        "✗ conditional_writes",
        "IGNORED",
        "Set storage.s3.conditional_writes = false",
    ] {
        assert!(run.text.contains(told), "{told}: {}", run.text);
    }
    assert_eq!(run.text.matches('✗').count(), 1, "{}", run.text);
    let run = place.run(&["check", "--json"]).await;
    let lines: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
    let lines = lines.as_array().unwrap();
    let found = lines.iter().find(|line| line["status"] == "failed");
    let line = found.unwrap();
    assert_eq!(line["step"], "conditional_writes");
    assert_eq!(line["code"], "misconfigured");

    place.set("ATTACHE_STORAGE__S3__CONDITIONAL_WRITES", "false");
    let run = place.run(&["check"]).await;
    assert_eq!(run.code, Some(0), "{}", run.text);
    assert!(!run.text.contains('✗'), "{}", run.text);
    let told = "✓ conditional_writes  ignored by the store";
    assert!(run.text.contains(told), "{}", run.text);
    assert_eq!(fake.counts().objects, 0, "the test files are deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_key_to_change_for_what_is_wrong_and_shows_no_secret() {
    const CANARY: &str = "canary-secret-5d41402abc4b2a76";
    let fake = fake(Dialect::S3).await;
    for (name, value, told) in [
        (
            "ATTACHE_STORAGE__S3__BUCKET",
            "nothing-there",
            "storage.s3.bucket",
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            CANARY,
            "storage.s3.secret_access_key",
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "AKIANOBODY",
            "storage.s3.access_key_id",
        ),
        ("AWS_REGION", "eu-west-9", "storage.s3.region"),
        (
            "AWS_ENDPOINT_URL",
            "https://127.0.0.1:1",
            "storage.s3.endpoint",
        ),
    ] {
        let mut place = Place::s3(&fake);
        place.set(name, value);
        let run = place.run(&["check"]).await;
        assert_eq!(run.code, Some(1), "{}", run.text);
        assert!(run.text.contains(told), "{told}: {}", run.text);
        assert!(!run.text.contains(CANARY), "{}", run.text);
    }
    for (name, value, told) in [
        (
            "AWS_ENDPOINT_URL",
            "http://s3.example.org",
            "storage.s3.endpoint must be https",
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "",
            "storage.s3.access_key_id is needed",
        ),
        (
            "ATTACHE_MEMORY__TRANSFER_BYTES",
            "16MiB",
            "memory.transfer_bytes must be at least 48",
        ),
    ] {
        let mut place = Place::s3(&fake);
        place.set(name, value);
        let run = place.run(&["check"]).await;
        assert_eq!(run.code, Some(2), "{}", run.text);
        assert!(run.text.contains(told), "{told}: {}", run.text);
    }
    fake.deny([Op::DeleteObject]);
    let run = Place::s3(&fake).run(&["check"]).await;
    assert_eq!(run.code, Some(1), "{}", run.text);
    assert!(run.text.contains("s3:DeleteObject"), "{}", run.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_size_go_there_and_come_back_and_leave_nothing() {
    for dialect in [Dialect::S3, Dialect::Gcs] {
        let fake = fake(dialect).await;
        let place = match dialect {
            Dialect::S3 => Place::s3(&fake),
            _ => Place::gcs(&fake),
        };
        for size in [0, 1000, 23 * 1024 * 1024 + 7] {
            let bytes: Vec<u8> = (0..size)
                .map(|at: usize| (at.wrapping_mul(31) >> 3) as u8)
                .collect();
            std::fs::write(place.folder().join("file.bin"), &bytes).unwrap();
            let run = place.run(&["put", "file.bin"]).await;
            assert_eq!(run.code, Some(0), "{}", run.text);
            let id = String::from_utf8(run.out).unwrap().trim().to_owned();
            assert_eq!(fake.counts().objects, 1, "one object, and no piece");
            let run = place.run(&["get", &id, "-o", "back.bin"]).await;
            assert_eq!(run.code, Some(0), "{}", run.text);
            assert!(std::fs::read(place.folder().join("back.bin")).unwrap() == bytes);
            let run = place.run(&["verify", "--deep"]).await;
            assert_eq!(run.code, Some(0), "{}", run.text);
            let run = place.run(&["rm", &id]).await;
            assert_eq!(run.code, Some(0), "{}", run.text);
            assert_eq!(fake.counts().objects, 0);
            std::fs::remove_file(place.folder().join("back.bin")).unwrap();
        }
    }
}
