//! A file has its name back, whoever reads the header: curl, npm's `content-disposition`, Python's `email`, Chromium.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::Server;
use test_support::Chromium;

/// A name, what of it is left in ASCII, and what Chromium saves: it replaces what Windows cannot store.
const NAMES: &[(&str, &str, &str)] = &[
    ("a b.txt", "a b.txt", "a b.txt"),
    ("写真.png", "__.png", "写真.png"),
    (
        "€ rates (final), v2; ok.tar.gz",
        "_ rates (final), v2; ok.tar.gz",
        "€ rates (final), v2; ok.tar.gz",
    ),
    (
        "it's = o'clock.txt",
        "it's = o'clock.txt",
        "it's = o'clock.txt",
    ),
    ("Ünï-cödé_ñ.pdf", "_n_-c_d___.pdf", "Ünï-cödé_ñ.pdf"),
    ("100% of a%41.txt", "100_ of a_41.txt", "100% of a%41.txt"),
    ("say \"hi\".txt", "say _hi_.txt", "say _hi_.txt"),
    (
        "family \u{1F469}\u{200D}\u{1F467}.txt",
        "family ___.txt",
        "family \u{1F469}_\u{1F467}.txt",
    ),
    (
        "=?UTF-8?Q?a?=.txt",
        "=_UTF-8_Q_a_=.txt",
        "=_UTF-8_Q_a_=.txt",
    ),
    ("שלום.txt", "____.txt", "שלום.txt"),
    (
        "10:30 <draft>.txt",
        "10_30 _draft_.txt",
        "10_30 _draft_.txt",
    ),
    ("noextension", "noextension", "noextension"),
];

/// Uploads a file under each name; id and header of each.
fn stored(server: &Server) -> Vec<(String, String)> {
    NAMES
        .iter()
        .map(|(name, _, _)| {
            let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
            let json = server.put(&format!("filename={encoded}"), "", name.as_bytes());
            assert_eq!(json["filename"], *name);
            let id = json["id"].as_str().unwrap().to_owned();
            let answer = server.request("HEAD", &format!("/download/{id}"), &[], b"");
            (id, answer.header("content-disposition").unwrap().to_owned())
        })
        .collect()
}

/// Gives a program JSON, and reads JSON from it.
fn converse(command: &mut Command, input: &serde_json::Value) -> serde_json::Value {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn curl_saves_under_the_ascii_name() {
    let Some(curl) = test_support::curl() else {
        return;
    };
    let server = Server::start(&[]);
    for ((id, header), (name, ascii, _)) in stored(&server).iter().zip(NAMES) {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new(&curl)
            .current_dir(folder.path())
            .args(["--silent", "--show-error", "-OJ"])
            .arg(format!("http://{}/download/{id}", server.address))
            .status()
            .unwrap();
        assert!(status.success());
        let saved: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(saved, [*ascii], "{name}: {header}");
        assert_eq!(
            std::fs::read(folder.path().join(ascii)).unwrap(),
            name.as_bytes()
        );
    }
}

#[test]
fn node_and_python_read_the_name_that_was_uploaded() {
    let server = Server::start(&[]);
    let headers: Vec<String> = stored(&server)
        .into_iter()
        .map(|(_, header)| header)
        .collect();
    let input = serde_json::json!(headers);
    let names: Vec<&str> = NAMES.iter().map(|(name, _, _)| *name).collect();
    if let (Some(node), Some(package)) = (test_support::node(), test_support::content_disposition())
    {
        let script = format!(
            "const {{ parse }} = require({});
             const headers = JSON.parse(require('fs').readFileSync(0, 'utf8'));
             console.log(JSON.stringify(headers.map(h => parse(h)).map(p => [p.type, p.parameters.filename])));",
            serde_json::json!(package)
        );
        let read = converse(Command::new(node).arg("-e").arg(script), &input);
        let wanted: Vec<_> = names.iter().map(|name| ("attachment", *name)).collect();
        assert_eq!(read, serde_json::json!(wanted));
    }
    if let Some(python) = test_support::python() {
        // Python gives both parameters, in their order; RFC 6266 section 4.3 says to prefer the extended one.
        let script = "
import email.message, email.utils, json, sys
def names(header):
    message = email.message.Message()
    message['content-disposition'] = header
    values = message.get_params(header='content-disposition')
    return [email.utils.collapse_rfc2231_value(v) for k, v in values if k == 'filename']
print(json.dumps([names(h) for h in json.load(sys.stdin)]))
";
        let read = converse(Command::new(python).args(["-c", script]), &input);
        for ((name, ascii, _), read) in NAMES.iter().zip(read.as_array().unwrap()) {
            let extended = name != ascii || name.contains('=');
            let wanted = if extended {
                vec![*ascii, *name]
            } else {
                vec![*name]
            };
            assert_eq!(*read, serde_json::json!(wanted));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_saves_under_the_whole_name() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let files = tokio::task::block_in_place(|| stored(&server));
    let client = chromium.client();
    client
        .goto(&format!("http://{}/", server.address))
        .await
        .unwrap();
    for ((id, header), (name, _, saved)) in files.iter().zip(NAMES) {
        client
            .execute(&format!("location.href = '/download/{id}'"), Vec::new())
            .await
            .unwrap();
        let path = chromium.downloads().join(saved);
        let start = Instant::now();
        // An empty file keeps the place while the download runs.
        while std::fs::read(&path).ok().as_deref() != Some(name.as_bytes()) {
            let there: Vec<_> = std::fs::read_dir(chromium.downloads())
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{name}: {header}: {there:?}"
            );
            tokio::task::yield_now().await;
        }
    }
    chromium.close().await;
}
