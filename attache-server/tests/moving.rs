//! `attache catalog copy`, as it is typed: from the file of one machine into a database for several, and back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Output;
use std::time::Duration;

use support::{Server, command};
use test_support::Postgres;

/// What a command said, and that it ended with this code.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn stop(server: &mut Server) {
    server.signal("TERM");
    let code = server.wait(Duration::from_secs(30));
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_moves_into_a_database_with_its_links_and_back_into_a_file() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;
    let there = database.url_without_password();
    let password_file = database.password_file().display().to_string();
    tokio::task::block_in_place(|| {
        let mut server = Server::start(&[]);
        let folder = server.folder.path().to_owned();
        let made = server.put("filename=a.txt&owner=page:1", "text/plain", b"moved");
        let id = made["id"].as_str().unwrap().to_owned();
        let link = server.request(
            "POST",
            &format!("/v1/attachments/{id}/url"),
            &[("Content-Type", "application/json")],
            b"{\"lifetime\":\"10m\"}",
        );
        let link = link.json()["url"].as_str().unwrap().to_owned();
        let target = link.split_once("/attachment").unwrap().1.to_owned();
        let target = format!("/attachment{target}");
        assert_eq!(server.get(&target).body, b"moved");

        let key = |variables: &[(&str, &str)], arguments: &[&str]| {
            let mut key = command(&folder, variables);
            let output = key.arg("key").args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        key(&[], &["create", "--name", "wiki", "--bucket", "media"]);
        let keys = key(&[], &["ls", "--json"]);
        assert!(keys.contains("wiki"), "{keys}");

        let copy = |to: &str, more: &[&str]| {
            let mut copy = command(&folder, &[]);
            copy.args(["catalog", "copy", "--to", to]).args(more);
            copy.output().unwrap()
        };
        let with_password = ["--to-password-file", password_file.as_str()];
        // A server writes to it.
        let said = ended(&copy(&there, &with_password), 1);
        assert!(said.contains("--live"), "{said}");
        let live = [with_password[0], with_password[1], "--live"];
        let said = ended(&copy(&there, &live), 0);
        assert!(said.contains("without --live"), "{said}");
        stop(&mut server);
        let said = ended(&copy(&there, &with_password), 0);
        assert!(said.contains("both are the same"), "{said}");

        // A password that does not parse is not repeated.
        let said = ended(&copy("postgres://u:s3cret@h/d?x=1", &[]), 2);
        assert!(!said.contains("s3cret"), "{said}");

        let on_database = [
            ("ATTACHE_CATALOG__URL", there.as_str()),
            ("ATTACHE_CATALOG__PASSWORD_FILE", password_file.as_str()),
            ("ATTACHE_SECRETS__KEY_FILE", "attache-data/secrets.key"),
        ];
        // It opens, or it would not be listed.
        assert_eq!(key(&on_database, &["ls", "--json"]), keys);
        server.restart(&on_database);
        assert_eq!(server.get(&target).body, b"moved", "the link of before");
        let more = server.put("filename=b.txt", "text/plain", b"new");
        stop(&mut server);

        let mut back = command(&folder, &on_database);
        back.args([
            "catalog",
            "copy",
            "--to",
            "sqlite://back/attache.db",
            "--json",
        ]);
        let output = back.output().unwrap();
        let said = ended(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect(&said);
        assert_eq!(report["compared"]["attachments"], 2, "{report}");
        assert_eq!(report["compared"]["access_keys"], 1, "{report}");
        server.restart(&[
            ("ATTACHE_CATALOG__URL", "sqlite://back/attache.db"),
            ("ATTACHE_SECRETS__KEY_FILE", "attache-data/secrets.key"),
        ]);
        assert_eq!(server.get(&target).body, b"moved");
        let new = more["links"]["inline"].as_str().unwrap();
        assert_eq!(server.get(new).body, b"new");
    });
}
