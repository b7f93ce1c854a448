//! Bad nights of a disk: one that is not mounted, a folder that somebody else owns, things in it that are not files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::process::Command;

use support::{Server, command, files_below, noise, try_read_answer};

#[test]
fn a_disk_that_is_not_mounted_is_trouble_and_takes_no_upload() {
    let mut server = Server::start(&[]);
    let bytes = noise(1_000);
    let json = server.put("filename=a.bin", "", &bytes);
    let target = format!("/download/{}", json["id"].as_str().unwrap());
    let root = server.folder.path().join("attache-data/objects");
    let away = server.folder.path().join("away");
    server.kill();
    std::fs::rename(&root, &away).unwrap();
    // The mount point.
    std::fs::create_dir(&root).unwrap();
    server.restart(&[]);
    let health = server.get("/v1/status").json()["health"].clone();
    assert_eq!(health["level"], "trouble", "{health}");
    assert!(
        health["sentence"].as_str().unwrap().contains("not mounted"),
        "{health}"
    );
    server
        .get("/readyz")
        .assert_problem(503, "upstream_unavailable", "not ready");
    let refused = server.request("POST", "/v1/attachments?filename=b.bin", &[], b"x");
    refused.assert_problem(503, "upstream_unavailable", "an upload onto the wrong disk");
    assert!(refused.text().contains("mounted"), "{}", refused.text());
    // Nor is anything deleted: it would come back with the disk.
    let id = target.rsplit('/').next().unwrap();
    server
        .request("DELETE", &format!("/v1/attachments/{id}"), &[], b"")
        .assert_problem(503, "upstream_unavailable", "a deletion on the wrong disk");
    let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
    swept.assert_problem(503, "upstream_unavailable", "a sweep of the wrong disk");
    // Mounted while it runs; nothing has to be restarted.
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    assert_eq!(server.get(&target).body, bytes);
    server.put("filename=b.bin", "", b"x");
    server.await_status("well again", |status| status["health"]["level"] == "ok");
}

#[test]
fn a_folder_that_was_copied_without_hidden_files_goes_on() {
    let server = Server::start(&[]);
    server.put("filename=a.bin", "", b"x");
    let root = server.folder.path().join("attache-data/objects");
    std::fs::remove_dir_all(root.join(".tmp")).unwrap();
    server.put("filename=b.bin", "", b"y");
}

#[test]
fn a_command_that_root_runs_leaves_nothing_that_the_server_cannot_open() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make the case.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("attache-data");
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(65_534), Some(65_534)).unwrap();
    std::fs::write(folder.path().join("a.txt"), "hello").unwrap();
    for arguments in [
        &["token", "create", "--name", "t", "--scope", "read"][..],
        &["put", "a.txt"][..],
    ] {
        let ran = command(folder.path(), &[])
            .args(arguments)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!(
                (about.uid(), about.gid()),
                (65_534, 65_534),
                "{}",
                path.display()
            );
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
}

#[test]
fn others_of_the_machine_can_read_nothing_of_the_data_folder() {
    let server = Server::start(&[]);
    server.put("filename=a.bin", "", b"x");
    let mut paths = vec![server.folder.path().join("attache-data")];
    while let Some(path) = paths.pop() {
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!(about.mode() & 0o007, 0, "{}", path.display());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("attache.db") && about.is_file() {
            assert_eq!(about.mode() & 0o077, 0, "{}", path.display());
        }
        if about.is_dir() {
            paths.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
}

#[test]
fn links_and_pipes_in_the_store_lead_nowhere_and_hold_up_nothing() {
    let server = Server::start(&[]);
    let json = server.put("filename=a.bin", "", &noise(1_000));
    let id = json["id"].as_str().unwrap();
    let root = server.folder.path().join("attache-data/objects");
    let secret = server.folder.path().join("secret.txt");
    std::fs::write(&secret, "hunter2").unwrap();
    let object = root.join(format!("user/{id}.bin"));
    std::fs::remove_file(&object).unwrap();
    symlink(&secret, &object).unwrap();
    let answer = server.get(&format!("/download/{id}"));
    assert!(
        answer.status >= 400 && !answer.text().contains("hunter2"),
        "{}",
        answer.text()
    );
    let pipe = root.join("user/019aaaaa-0000-7000-8000-000000000001.bin");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let verified = command(server.folder.path(), &[])
        .args(["verify", "--deep"])
        .output()
        .unwrap();
    // It comes to its end, and the attachment behind the link is not there.
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// What is sent by the kernel, which nobody reads meanwhile, is what was read and found right a moment ago.
#[test]
fn a_file_is_read_before_the_kernel_sends_it_and_again_once_somebody_wrote_to_it() {
    let server = Server::start(&[]);
    // One chunk, several, and a piece behind them.
    for length in [1, 70_000, 256 * 1024, 1_000_003] {
        let bytes = noise(length);
        let id = server.put("filename=a.bin", "application/octet-stream", &bytes)["id"].to_string();
        let path = format!("/attachment/{}", id.trim_matches('"'));
        for time in ["read", "sent", "sent again"] {
            assert!(server.get(&path).body == bytes, "{time}: {length}");
        }
        let middle = length / 2;
        let range = format!("bytes={middle}-");
        let part = server.request("GET", &path, &[("range", &range)], b"");
        assert_eq!(part.status, 206);
        assert!(part.body == bytes[middle..], "{length}");

        // As long as before, and by somebody who does not know what a checksum is.
        let root = server.folder.path().join("attache-data/objects");
        let name = files_below(&root)
            .into_iter()
            .find(|name| !name.contains(".facts") && name.contains(id.trim_matches('"')))
            .expect("its file");
        let mut changed = bytes.clone();
        changed[middle] ^= 1;
        std::fs::write(name, &changed).expect("written");
        let mut stream = server.connect();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let answer = try_read_answer(&mut stream);
        let is_whole = answer.is_ok_and(|answer| !answer.truncated);
        assert!(!is_whole, "{length}: what was changed looks complete");
    }
}
