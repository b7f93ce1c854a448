//! TLS from files, and HTTP/2 with it and without: as curl, rustls and a client with bad manners see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::https::connect_secure;
use support::{Server, noise};

const FILES: [(&str, &str); 2] = [
    ("ATTACHE_SERVER__TLS__CERTIFICATE_FILE", "certificate.pem"),
    ("ATTACHE_SERVER__TLS__KEY_FILE", "key.pem"),
];

/// A certificate for 127.0.0.1, and its key.
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// By renames, as certificates are renewed: a moment in which the two do not fit is part of it.
    fn install(&self, folder: &Path) {
        for (name, text) in [
            ("certificate.pem", &self.certificate),
            ("key.pem", &self.key),
        ] {
            let next = folder.join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(&next, folder.join(name)).unwrap();
        }
    }
}

fn start_secure(identity: &Identity) -> Server {
    let folder = tempfile::tempdir().unwrap();
    identity.install(folder.path());
    Server::start_in(folder, &FILES, &[])
}

/// Runs curl: its exit code, and what it printed.
fn curl(curl: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--max-time", "30"]);
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        text + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn http2_by_prior_knowledge_serves_what_http1_serves() {
    let Some(program) = test_support::curl() else {
        return;
    };
    let server = Server::start(&[]);
    let file = server.folder.path().join("a.bin");
    let bytes = noise(3_000_000);
    std::fs::write(&file, &bytes).unwrap();
    let root = format!("http://{}", server.address);
    let form = format!("file=@{}", file.display());
    let upload = [
        "--http2-prior-knowledge",
        "-w",
        " %{http_version}",
        "-F",
        &form,
        &format!("{root}/v1/attachments"),
    ];
    let (_, answer) = curl(&program, &upload);
    let (json, version) = answer.rsplit_once(' ').unwrap();
    assert_eq!(version, "2", "{answer}");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let id = json["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}\n{}", server.log()));
    let target = format!("/download/{id}");
    assert!(server.get(&target).body == bytes);

    let url = format!("{root}{target}");
    let saved = server.folder.path().join("saved");
    let saved = saved.to_str().unwrap();
    let fetch = |version: &str, more: &[&str]| {
        let mut arguments = vec![version, "-D", "-", "-o", saved];
        arguments.extend_from_slice(more);
        arguments.push(&url);
        let (code, head) = curl(&program, &arguments);
        assert_eq!(code, Some(0), "{head}");
        // Everything but the first line, the order, and what differs from one request to the next.
        let mut lines: Vec<String> = head
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .filter(|line| !line.starts_with("x-request-id") && !line.starts_with("date"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        let status = head.split(' ').nth(1).unwrap().trim().to_owned();
        (status, lines, std::fs::read(saved).unwrap())
    };
    for (more, status) in [
        (vec![], "200"),
        (vec!["-r", "10-19"], "206"),
        (vec!["-r", "-7"], "206"),
        (vec!["-r", "9999999-"], "416"),
    ] {
        let mut one = fetch("--http1.1", &more);
        let mut two = fetch("--http2-prior-knowledge", &more);
        if status == "416" {
            // The request's id is in the body.
            one.2.clear();
            two.2.clear();
        }
        assert!(one == two, "{more:?}: {:?} {:?}", one.1, two.1);
        assert_eq!(one.0, status, "{more:?}");
    }
    let (_, head) = curl(&program, &["--http2-prior-knowledge", "-I", &url]);
    assert!(head.contains("content-length: 3000000"), "{head}");
}

#[test]
fn tls_speaks_both_versions_and_links_are_https() {
    let Some(program) = test_support::curl() else {
        return;
    };
    let server = start_secure(&Identity::new());
    let ca = server.folder.path().join("certificate.pem");
    let ca = ca.to_str().unwrap();
    let root = format!("https://{}", server.address);
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let arguments = [
            "--cacert",
            ca,
            flag,
            "-w",
            "%{http_version}",
            "-o",
            "/dev/null",
            &format!("{root}/healthz"),
        ];
        assert_eq!(curl(&program, &arguments), (Some(0), version.to_owned()));
        let upload = [
            "--cacert",
            ca,
            flag,
            "--data-binary",
            "hello",
            &format!("{root}/v1/attachments?filename=a.txt"),
        ];
        let (_, json) = curl(&program, &upload);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let id = json["id"].as_str().unwrap();
        let ask = [
            "--cacert",
            ca,
            flag,
            "-X",
            "POST",
            &format!("{root}/v1/attachments/{id}/url"),
        ];
        let (_, json) = curl(&program, &ask);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let link = json["url"].as_str().unwrap();
        assert!(link.starts_with(&format!("{root}/attachment/")), "{link}");
        let opened = curl(&program, &["--cacert", ca, flag, link]);
        assert_eq!(opened, (Some(0), "hello".to_owned()));
    }
}

fn connect(
    server: &Server,
    identity: &Identity,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    connect_secure(server.address, &identity.certificate)
}

fn ask(stream: &mut impl ReadWrite, target: &str) -> std::io::Result<String> {
    write!(stream, "GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")?;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with('}') {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.push_str(std::str::from_utf8(&buffer[..got]).unwrap());
    }
    Ok(text)
}

trait ReadWrite: std::io::Read + std::io::Write {}
impl<T: std::io::Read + std::io::Write> ReadWrite for T {}

#[test]
fn a_renewed_certificate_serves_new_connections_and_running_ones_go_on() {
    let (old, new) = (Identity::new(), Identity::new());
    let server = start_secure(&old);
    let mut running = connect(&server, &old);
    assert!(ask(&mut running, "/healthz").unwrap().contains("200 OK"));
    new.install(server.folder.path());
    let start = Instant::now();
    // The watcher sees it by itself.
    while ask(&mut connect(&server, &new), "/healthz").is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{}",
            server.log()
        );
    }
    assert!(ask(&mut connect(&server, &old), "/healthz").is_err());
    let status = ask(&mut running, "/v1/status").unwrap();
    assert!(status.contains("\"rebuilt\":[\"tls\"]"), "{status}");
}

#[test]
fn a_pair_that_does_not_fit_leaves_the_old_one_in_use_and_says_why() {
    let good = Identity::new();
    let server = start_secure(&good);
    let folder = server.folder.path();
    let other = Identity::new();
    for (name, text, why) in [
        ("key.pem", other.key.as_str(), "server.tls.key_file"),
        ("key.pem", "nonsense", "server.tls.key_file"),
        ("certificate.pem", "nonsense", "server.tls.certificate_file"),
        (
            "certificate.pem",
            other.key.as_str(),
            "server.tls.certificate_file",
        ),
    ] {
        good.install(folder);
        std::fs::write(folder.join(name), text).unwrap();
        server.signal("HUP");
        let start = Instant::now();
        loop {
            let status = ask(&mut connect(&server, &good), "/v1/status").unwrap();
            let error = status.split("\"error\":\"").nth(1).unwrap_or_default();
            if error.contains(why) {
                assert!(!status.contains("PRIVATE KEY"), "{status}");
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{why}: {status}");
        }
    }
    assert!(!server.log().contains("PRIVATE KEY"));
}

#[test]
fn one_file_without_the_other_or_a_bad_pair_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    Identity::new().install(folder.path());
    for (name, value, why) in [
        ("ATTACHE_SERVER__TLS__KEY_FILE", "", "server.tls needs both"),
        (
            "ATTACHE_SERVER__TLS__KEY_FILE",
            "absent.pem",
            "server.tls.key_file",
        ),
        (
            "ATTACHE_SERVER__TLS__KEY_FILE",
            "certificate.pem",
            "server.tls.key_file",
        ),
    ] {
        let variables = [FILES[0], (name, value)];
        let output = support::command(folder.path(), &variables)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn who_does_not_greet_in_time_is_cut() {
    let server = start_secure(&Identity::new());
    let mut silent = server.connect();
    let start = Instant::now();
    let mut buffer = [0; 1];
    let got = silent.read(&mut buffer);
    assert!(!matches!(got, Ok(1..)), "it says nothing first");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn who_greets_and_asks_for_nothing_is_cut() {
    let identity = Identity::new();
    let folder = tempfile::tempdir().unwrap();
    identity.install(folder.path());
    let impatient = [&FILES[..], &[("ATTACHE_LIMITS__HEAD_TIMEOUT", "1s")]].concat();
    let server = Server::start_in(folder, &impatient, &[]);
    let mut silent = connect(&server, &identity);
    let start = Instant::now();
    let got = silent.read(&mut [0; 1]);
    assert!(!matches!(got, Ok(1..)), "it says nothing first");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_stream_of_http2_lets_go_of_its_source_though_its_connection_lives() {
    let server = Server::start(&[("ATTACHE_DOWNLOAD__IDLE_TIMEOUT", "1s")]);
    let json = server.put("filename=a.bin", "", &noise(3_000_000));
    let target = format!("http://a/download/{}", json["id"].as_str().unwrap());
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driven = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let get = http::Request::get(&target).body(()).unwrap();
    let (answer, _) = client.send_request(get, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let first = body.data().await.unwrap().unwrap();
    assert!(!first.is_empty());
    // No window is given back from here on.
    let open = |n| move |status: &serde_json::Value| status["streams"]["downloads_open"] == n;
    tokio::task::block_in_place(|| server.await_status("it lets go", open(0)));
    // Whatever is still under way is no whole file.
    let mut got = first.len();
    let end = loop {
        match body.data().await {
            Some(Ok(chunk)) => {
                got += chunk.len();
                let _ = body.flow_control().release_capacity(chunk.len());
            }
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(
        end.is_some_and(|error| error.is_reset()),
        "never a clean end"
    );
    assert!(got < 3_000_000, "{got}");
    // The connection itself is fine.
    let mut client = client.ready().await.unwrap();
    let get = http::Request::get("http://a/healthz").body(()).unwrap();
    let (answer, _) = client.send_request(get, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    driven.abort();
}
