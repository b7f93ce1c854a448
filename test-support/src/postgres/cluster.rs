//! What a server of PostgreSQL stands on: its data, who may connect, and its command line.

use std::path::Path;
use std::process::Command;

use super::Postgres;
use super::admin::{SUPERUSER, SUPERUSER_PASSWORD};
use crate::certificate::Certificate;
use crate::daemon::Started;
use crate::unprivileged::Unprivileged;

/// In the folder of a server: the password of [`Postgres::ROLE`], and a line feed.
pub(super) const PASSWORD_FILE: &str = "password";

/// Makes the data in `folder`. Panics with what `initdb` says if it fails.
pub(super) fn create(bin: &Path, user: Unprivileged, folder: &Path, tls: bool) {
    let ours = folder.join(PASSWORD_FILE);
    std::fs::write(&ours, format!("{}\n", Postgres::PASSWORD)).expect("a folder of ours");
    user.give(&ours);
    let password = folder.join("superuser");
    std::fs::write(&password, SUPERUSER_PASSWORD).expect("a folder of ours");
    user.give(&password);

    let initdb = bin.join("initdb");
    let mut command = user.command(&initdb, folder);
    command
        .arg("--pgdata")
        .arg(folder.join("data"))
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
        .arg("--pwfile")
        .arg(&password)
        // The data outlives processes only.
        .args(["--no-sync", "--encoding", "UTF8", "--locale", "C"])
        .args(sorting(bin));
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{}: {error} (as root, PostgreSQL is run by `postgres` or `nobody`, who must be able to reach it)",
            initdb.display()
        )
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    let secured = if tls { "hostssl" } else { "host" };
    let rules = format!(
        "host all {SUPERUSER} 127.0.0.1/32 scram-sha-256\n{secured} all {} 127.0.0.1/32 scram-sha-256\n",
        Postgres::ROLE
    );
    std::fs::write(folder.join("data/pg_hba.conf"), rules).expect("initdb made the folder");
}

/// The server on `port`, with `settings` after those of every server of the tests.
pub(super) fn command(
    bin: &Path,
    folder: &Path,
    port: u16,
    certificate: Option<&Certificate>,
    settings: &[String],
) -> Command {
    let mut command = Command::new(bin.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    let mut set = |setting: &str| {
        command.args(["-c", setting]);
    };
    set("listen_addresses=127.0.0.1");
    set("unix_socket_directories=");
    set("max_connections=300");
    set(&format!("port={port}"));
    if let Some(certificate) = certificate {
        set("ssl=on");
        set(&format!("ssl_cert_file={}", certificate.file.display()));
        set(&format!("ssl_key_file={}", certificate.key.display()));
    }
    settings.iter().for_each(|setting| set(setting));
    command
}

/// What a line of its log says about its start.
pub(super) fn started(line: &str) -> Option<Started> {
    if line.contains("database system is ready to accept connections") {
        Some(Started::Listens)
    } else if line.contains("could not create any TCP/IP sockets") {
        Some(Started::PortIsTaken)
    } else {
        None
    }
}

/// How text is sorted: as people do, where this build can. The wheel of 18 has no ICU.
fn sorting(bin: &Path) -> &'static [&'static str] {
    let config = Command::new(bin.join("pg_config"))
        .arg("--configure")
        .output();
    let has_icu = match config {
        Ok(output) => String::from_utf8_lossy(&output.stdout).contains("--with-icu"),
        // Debian has it in another package.
        Err(_) => true,
    };
    match has_icu {
        true => &["--locale-provider", "icu", "--icu-locale", "en-US"],
        false => &[],
    }
}
