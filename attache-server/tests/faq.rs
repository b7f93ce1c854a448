//! What docs/faq.md quotes is what attache says: every failure in it is made to happen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use fake_azure::{Action, AnswerFault, Entra, FakeAzure, Guard, Op};
use support::{Server, command};

/// Everything that was said, as one text.
#[derive(Default)]
struct Said(String);

impl Said {
    /// Runs a command to its end.
    fn run(&mut self, folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) {
        let output = command(folder, variables).args(arguments).output().unwrap();
        self.hear(&output.stdout);
        self.hear(&output.stderr);
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        self.0.push('\n');
    }

    /// Asks, and keeps the `detail` of the problem.
    fn ask(
        &mut self,
        server: &Server,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let answer = server.request(method, target, headers, body);
        assert!(answer.status >= 400, "{method} {target}: {}", answer.text());
        self.hear(answer.json()["detail"].as_str().unwrap().as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_message_that_the_faq_quotes_is_said() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    let said = tokio::task::block_in_place(|| {
        let mut said = Said::default();
        starting(&mut said);
        on_azure(&mut said, &azure);
        single_files(&mut said, &azure);
        requests(&mut said);
        said.0
    });
    let faq = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faq.md");
    let faq = std::fs::read_to_string(faq).unwrap();
    let mut quoted = 0;
    for block in faq.split("```text\n").skip(1) {
        let message = block.split("\n```").next().unwrap();
        assert!(said.contains(message), "nobody says: {message}\n\n{said}");
        quoted += 1;
    }
    assert!(quoted > 20, "{quoted} messages");
}

fn starting(said: &mut Said) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    said.run(at, &[], &["serve", "--listen", "0.0.0.0:8080"]);
    std::fs::write(at.join("bad.toml"), "[upload]\nblock_bites = 1\n").unwrap();
    said.run(at, &[], &["--config", "bad.toml", "check"]);
    said.run(at, &[("ATTACHE_STORAGE__BACKEND", "azure")], &["check"]);
    said.run(at, &[("ATTACHE_STORAGE__BACKEND", "memory")], &["ls"]);
    said.run(at, &[], &["ls"]);
    said.run(at, &[], &["check"]);
    // Ports of our own stand for the one in the text.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut there = Said::default();
    there.run(at, &[], &["serve", "--listen", &address]);
    drop(taken);
    there.run(at, &[], &["health", "--url", &format!("http://{address}")]);
    said.hear(there.0.replace(&address, "127.0.0.1:8080").as_bytes());
}

fn on_azure(said: &mut Said, azure: &FakeAzure) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), azure.ca_pem()).unwrap();
    let (endpoint, authority) = (azure.blob_endpoint(), azure.authority_host());
    let good = [
        ("ATTACHE_STORAGE__BACKEND", "azure"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
        ("AZURE_STORAGE_CONTAINER_NAME", "files"),
        ("AZURE_TENANT_ID", azure.tenant_id()),
        ("AZURE_CLIENT_ID", azure.client_id()),
        ("AZURE_CLIENT_SECRET", "a-secret"),
        ("ATTACHE_STORAGE__AZURE__CA_FILE", "ca.pem"),
        ("ATTACHE_STORAGE__AZURE__ENDPOINT", &endpoint),
        ("AZURE_AUTHORITY_HOST", &authority),
    ];
    let check = |changed: &[(&str, &str)]| {
        let proxy = [("HTTPS_PROXY", "http://127.0.0.1:1")];
        let variables = [&good[..], &proxy, changed].concat();
        let output = command(folder.path(), &variables)
            .arg("check")
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let nobody = "11111111-1111-1111-1111-111111111111";
    for changed in [
        ("AZURE_CLIENT_SECRET", "another"),
        ("AZURE_CLIENT_ID", nobody),
        ("AZURE_TENANT_ID", nobody),
        ("AZURE_STORAGE_CONTAINER_NAME", "other"),
        ("ATTACHE_STORAGE__AZURE__CA_FILE", ""),
        ("AZURE_AUTHORITY_HOST", "https://login.store.test"),
        (
            "ATTACHE_STORAGE__AZURE__ENDPOINT",
            "https://127.0.0.1:1/acme",
        ),
    ] {
        said.hear(check(&[changed]).as_bytes());
    }
    for code in ["AuthorizationPermissionMismatch", "AuthorizationFailure"] {
        azure.faults(|faults| {
            faults.answers.push(AnswerFault {
                op: Some(Op::PutBlob),
                action: Action::Answer {
                    status: 403,
                    code: code.to_owned(),
                    retry_after_seconds: None,
                },
                ..AnswerFault::default()
            });
        });
        said.hear(check(&[]).as_bytes());
        azure.faults(fake_azure::Faults::clear);
    }
    azure.faults(|faults| faults.entra = Entra::Unavailable);
    said.hear(check(&[]).as_bytes());
    azure.faults(fake_azure::Faults::clear);
    azure.faults(|faults| faults.clock_skew_seconds = 1200);
    // `Date` has whole seconds.
    let skewed = check(&[]);
    said.hear(skewed.replace("1199 s", "1200 s").as_bytes());
    azure.faults(fake_azure::Faults::clear);
}

fn single_files(said: &mut Said, azure: &FakeAzure) {
    let relay = [("ATTACHE_DELIVERY__MODE", "relay")];
    let server = Server::start_on(azure, &relay);
    let kept = server.put("filename=a.txt", "text/plain", b"hello");
    let id = kept["id"].as_str().unwrap();
    let blobs = azure.blobs();
    let key = &blobs
        .iter()
        .find(|blob| blob.name.contains(id))
        .unwrap()
        .name;
    let target = format!("/download/{id}");
    azure.set_tier("files", key, "Archive");
    said.ask(&server, "GET", &target, &[], b"");
    azure.delete_blob("files", key);
    said.ask(&server, "GET", &target, &[], b"");
    azure.put_blob("files", key, "hello");
    azure.guard_blob("files", key, Some(Guard::RetentionPolicy));
    said.ask(
        &server,
        "DELETE",
        &format!("/v1/attachments/{id}"),
        &[],
        b"",
    );
}

fn requests(said: &mut Said) {
    let guarded = Server::start(&[("ATTACHE_AUTH__MODE", "token")]);
    said.hear(guarded.log().as_bytes());
    said.ask(&guarded, "GET", "/v1/attachments", &[], b"");
    said.ask(
        &guarded,
        "GET",
        "/v1/attachments",
        &[("authorization", "Bearer nonsense")],
        b"",
    );
    let token = command(guarded.folder.path(), &[("ATTACHE_AUTH__MODE", "token")])
        .args(["token", "create", "--name", "reader", "--scope", "read"])
        .output()
        .unwrap();
    let bearer = format!("Bearer {}", String::from_utf8_lossy(&token.stdout).trim());
    let authorization = [("authorization", bearer.as_str())];
    let start = Instant::now();
    while guarded
        .request("GET", "/v1/attachments", &authorization, b"")
        .status
        != 200
    {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the token is seen"
        );
    }
    said.ask(&guarded, "GET", "/metrics", &authorization, b"");

    let small = Server::start(&[
        ("ATTACHE_UPLOAD__MAX_FILE_BYTES", "10"),
        ("ATTACHE_UPLOAD__TOTAL_BYTES", "15"),
        ("ATTACHE_HOOKS__CLAMD", "tcp://127.0.0.1:1"),
        ("ATTACHE_HOOKS__WHEN_DOWN", "accept"),
    ]);
    let (target, plain) = ("/v1/attachments?filename=a", ("content-type", "text/plain"));
    let kept = small.put("filename=a", "text/plain", b"xxxxxxxxx");
    let id = kept["id"].as_str().unwrap();
    said.ask(&small, "POST", target, &[plain], b"xxxxxxxxxxx");
    said.ask(&small, "POST", target, &[plain], b"xxxxxxxxx");
    let form = [("content-type", "multipart/form-data; boundary=b")];
    said.ask(&small, "POST", target, &form, b"xxx");
    let part = |filename: &[u8], body: &[u8]| {
        let head = b"--b\r\ncontent-disposition: form-data; name=file; filename=\"";
        [&head[..], filename, b"\"\r\n\r\n", body, b"\r\n--b--\r\n"].concat()
    };
    said.ask(&small, "POST", target, &form, &part(b"caf\xE9.txt", b"x"));
    said.ask(&small, "POST", target, &form, &part(b"", b""));
    let md5 = [plain, ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    said.ask(&small, "POST", target, &md5, b"xxx");
    let elsewhere = [plain, ("origin", "https://evil.example")];
    said.ask(&small, "POST", target, &elsewhere, b"xxx");
    said.ask(
        &small,
        "GET",
        &format!("/download/{id}?expires=1&sig=abc"),
        &[],
        b"",
    );

    let hooked = Server::start(&[("ATTACHE_HOOKS__CLAMD", "tcp://127.0.0.1:1")]);
    said.ask(&hooked, "POST", target, &[plain], b"xxx");
}
