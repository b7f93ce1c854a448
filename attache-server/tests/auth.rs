//! Who may do what: tokens, sessions, JSON Web Tokens, the application that is asked, and pages of other sites.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{self, KeyPair as _};
use serde_json::json;
use support::{Answer, Server, command, field, file, form};

const MODE: (&str, &str) = ("ATTACHE_AUTH__MODE", "token");

/// A token that `attache token create` makes in this folder.
fn token(folder: &std::path::Path, arguments: &[&str]) -> String {
    let made = command(folder, &[MODE])
        .args(["token", "create", "--name", "test"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// A server that asks for tokens, and one that may do everything.
fn start() -> (Server, String) {
    start_with(&[])
}

fn start_with(more: &[(&str, &str)]) -> (Server, String) {
    let folder = tempfile::tempdir().unwrap();
    let all = token(folder.path(), &["--scope", "read,write,delete,admin"]);
    let variables: Vec<_> = [MODE].iter().chain(more).copied().collect();
    (Server::start_in(folder, &variables, &[]), all)
}

struct As<'a>(&'a Server, &'a str);

impl As<'_> {
    fn request(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.1);
        let headers = [
            ("authorization", bearer.as_str()),
            (
                "content-type",
                if target.contains("filename") {
                    "text/plain"
                } else {
                    "application/json"
                },
            ),
        ];
        self.0.request(method, target, &headers, body)
    }

    fn get(&self, target: &str) -> Answer {
        self.request("GET", target, b"")
    }

    fn put(&self, owner: &str, body: &[u8]) -> String {
        let owner = if owner.is_empty() {
            String::new()
        } else {
            format!("&owner={owner}")
        };
        let answer = self.request(
            "POST",
            &format!("/v1/attachments?filename=a.txt{owner}"),
            body,
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn without_a_token_nothing_opens_but_what_is_for_everybody() {
    let (server, all) = start();
    let id = As(&server, &all).put("page:1", b"hello");
    let document = server.get("/openapi.json").json();
    let free = ["/healthz", "/readyz"];
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if matches!(method.as_str(), "parameters" | "summary" | "description") {
                continue;
            }
            let target = path.replace("{id}", &id);
            let method = method.to_uppercase();
            for headers in [
                &[][..],
                &[("authorization", "Bearer att_0123456789abcdef_nothing")][..],
                &[
                    ("authorization", "Bearer "),
                    ("cookie", "attache_session=a.b.c"),
                ][..],
                &[("authorization", "Basic YTpi")][..],
            ] {
                let answer = server.request(&method, &target, headers, b"{\"token\":\"att_\"}");
                let name = format!("{method} {target} {headers:?}");
                // It says what is supported, and browsers send no token with such a question.
                if method == "OPTIONS" {
                    assert_eq!(answer.status, 204, "{name}");
                // Its own link opens it, and nothing else does.
                } else if path == "/v1/uploads/{id}/content" {
                    assert!(
                        matches!(answer.status, 400 | 403),
                        "{name}: {}",
                        answer.status
                    );
                } else if method == "HEAD" {
                    assert_eq!(answer.status, 401, "{name}");
                } else if free.contains(&path.as_str()) {
                    assert_eq!(answer.status, 200, "{name}");
                } else if (method.as_str(), path.as_str()) == ("DELETE", "/v1/session") {
                    assert_eq!(answer.status, 204, "{name}");
                } else {
                    answer.assert_problem(401, "unauthorized", &name);
                    assert_eq!(
                        answer.header("www-authenticate"),
                        Some("Bearer realm=\"attache\""),
                        "{name}"
                    );
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 60, "{asked} requests were refused");
    assert_eq!(
        As(&server, &all).get(&format!("/download/{id}")).body,
        b"hello",
        "it is still there"
    );
    assert_eq!(server.get("/").status, 200, "the page asks for the token");
}

#[test]
fn each_scope_opens_its_own_and_no_other() {
    let (server, all) = start();
    let id = As(&server, &all).put("page:1", b"hello");
    let attachment = format!("/v1/attachments/{id}");
    let url = format!("/v1/attachments/{id}/url");
    let (inline, download) = (format!("/attachment/{id}"), format!("/download/{id}"));
    let table: &[(&str, &str, &str, &[u8])] = &[
        ("read", "GET", "/v1/attachments", b""),
        ("read", "GET", &attachment, b""),
        ("read", "POST", &url, b"{}"),
        ("read", "GET", &inline, b""),
        ("read", "HEAD", &download, b""),
        ("write", "POST", "/v1/attachments?filename=b.txt", b"x"),
        ("write", "GET", "/v1/limits", b""),
        ("admin", "GET", "/v1/status", b""),
        ("admin", "GET", "/metrics", b""),
        ("admin", "POST", "/v1/admin/sweep", b""),
        ("admin", "POST", "/v1/admin/reload", b""),
        ("delete", "POST", "/v1/attachments:delete", b"{\"ids\":[]}"),
        ("delete", "DELETE", &attachment, b""),
    ];
    for scope in ["read", "write", "admin", "delete"] {
        let token = token(server.folder.path(), &["--scope", scope]);
        let caller = As(&server, &token);
        await_token(&caller);
        for (needed, method, target, body) in table {
            let answer = caller.request(method, target, body);
            let name = format!("{scope}: {method} {target}");
            if *needed == scope {
                assert!(
                    (200..300).contains(&answer.status),
                    "{name}: {}",
                    answer.text()
                );
            } else if *method == "HEAD" {
                assert_eq!(answer.status, 403, "{name}");
            } else {
                answer.assert_problem(403, "forbidden", &name);
                assert!(answer.text().contains(needed), "{name}: it names the scope");
            }
        }
    }
}

/// A server notices new tokens within a second.
fn await_token(caller: &As<'_>) {
    let start = std::time::Instant::now();
    while caller.get("/v1/session").status == 401 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the token is not noticed"
        );
    }
}

#[test]
fn what_hangs_on_other_owners_is_not_there() {
    let (server, all) = start();
    let all = As(&server, &all);
    let mine = all.put("page:1", b"mine");
    let (theirs, nobodys) = (all.put("page:2", b"theirs"), all.put("", b"nobody's"));
    let text = token(
        server.folder.path(),
        &["--scope", "read,write,delete", "--owner", "page:1,user:*"],
    );
    let some = As(&server, &text);
    await_token(&some);

    let absent = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11";
    for (method, target, body) in [
        ("GET", "/v1/attachments/{id}", "".as_bytes()),
        ("POST", "/v1/attachments/{id}/url", b"{}"),
        ("GET", "/attachment/{id}", b""),
        ("GET", "/download/{id}", b""),
        ("DELETE", "/v1/attachments/{id}", b""),
    ] {
        let ask = |id: &str| {
            let answer = some.request(method, &target.replace("{id}", id), body);
            let told = String::from_utf8_lossy(&answer.body).replace(id, "ID");
            let request_id = answer.header("x-request-id").unwrap().to_owned();
            (answer.status, told.replace(&request_id, "REQUEST"))
        };
        let missing = ask(absent);
        assert_eq!(ask(&theirs), missing, "{method} {target}");
        assert_eq!(ask(&nobodys), missing, "{method} {target}");
    }
    for id in [&theirs, &nobodys] {
        assert_eq!(
            all.get(&format!("/download/{id}")).status,
            200,
            "nothing was deleted"
        );
    }
    let bulk = json!({"ids": [theirs, absent]}).to_string();
    let outcomes = some
        .request("POST", "/v1/attachments:delete", bulk.as_bytes())
        .json();
    let outcomes = outcomes["results"].as_array().unwrap().clone();
    assert!(outcomes.iter().all(|one| one["outcome"] == "absent") && outcomes.len() == 2);
    let bulk = some.request("POST", "/v1/attachments:delete", b"{\"owner\":\"page:2\"}");
    assert_eq!(bulk.json()["results"], json!([]));
    assert_eq!(all.get(&format!("/download/{theirs}")).body, b"theirs");

    let listed = some.get("/v1/attachments").json();
    let ids: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, [json!(mine)]);
    assert_eq!(
        some.get("/v1/attachments?owner=page:2").json()["items"],
        json!([])
    );

    for target in [
        "/v1/attachments?filename=x",
        "/v1/attachments?filename=x&owner=page:2",
    ] {
        some.request("POST", target, b"x")
            .assert_problem(403, "forbidden", target);
    }
    let parts = [field("owner", "page:2"), file("x.txt", "text/plain", b"x")];
    let content_type = format!("multipart/form-data; boundary={}", support::BOUNDARY);
    let bearer = format!("Bearer {text}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", &content_type),
    ];
    let refused = server.request("POST", "/v1/attachments", &headers, &form(&parts));
    refused.assert_problem(403, "forbidden", "a form for another owner");
    some.put("user:7", b"fine");
    assert_eq!(
        some.request("DELETE", &format!("/v1/attachments/{mine}"), b"")
            .status,
        204
    );
    assert_eq!(all.get(&format!("/download/{mine}")).status, 404);
}

#[test]
fn a_retry_of_somebody_else_is_no_retry() {
    let (server, all) = start();
    let other = command(server.folder.path(), &[MODE])
        .args(["token", "create", "--name", "other", "--scope", "write"])
        .output()
        .unwrap();
    let other = String::from_utf8(other.stdout).unwrap().trim().to_owned();
    await_token(&As(&server, &other));
    let put = |token: &str, body: &[u8]| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("idempotency-key", "one"),
        ];
        let answer = server.request("POST", "/v1/attachments?filename=a", &headers, body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    };
    let first = put(&all, b"first");
    assert_eq!(put(&all, b"first"), first);
    let second = put(&other, b"second");
    assert_ne!(second["id"], first["id"]);
    assert_ne!(second["sha256"], first["sha256"]);
}

#[test]
fn a_link_needs_no_login_and_opens_nothing_else() {
    let (server, all) = start();
    let all = As(&server, &all);
    let (one, two) = (all.put("page:1", b"one"), all.put("page:1", b"two"));
    let made = all
        .request(
            "POST",
            &format!("/v1/attachments/{one}/url"),
            b"{\"lifetime\":\"1m\"}",
        )
        .json();
    let url = made["url"].as_str().unwrap();
    let target = url
        .strip_prefix(&format!("http://{}", server.address))
        .unwrap();
    assert_eq!(server.get(target).body, b"one");
    server
        .get(&target.replace(&one, &two))
        .assert_problem(403, "forbidden", "another id");
    server
        .get(&format!("{target}&via=relay"))
        .assert_problem(403, "forbidden", "via");
    let (_, proof) = target.split_once('?').unwrap();
    let changed = [
        target.replace("/attachment/", "/download/"),
        target.replace("expires=", "expires=9"),
        target.replace("&sig=", "&sig=A"),
        target.split_once("&sig").unwrap().0.to_owned(),
        format!("/v1/attachments/{one}?{proof}"),
        format!("/v1/attachments?{proof}"),
    ];
    for forged in changed {
        let answer = server.get(&forged);
        assert!(
            matches!(answer.status, 400 | 401 | 403),
            "{forged}: {}",
            answer.text()
        );
    }
}

#[test]
fn a_token_that_is_revoked_stops_within_seconds_and_its_session_too() {
    let (server, all) = start();
    let id = all.split('_').nth(1).unwrap();
    let body = json!({"token": all}).to_string();
    let signed_in = server.request("POST", "/v1/session", &[], body.as_bytes());
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(
        !cookie.contains(all.splitn(3, '_').nth(2).unwrap()),
        "no secret of the token"
    );
    let session = cookie.split(';').next().unwrap().to_owned();
    let with_cookie = |method: &str, target: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = [("cookie", session.as_str())]
            .iter()
            .chain(more)
            .copied()
            .collect();
        server.request(method, target, &headers, b"")
    };
    assert_eq!(
        with_cookie("GET", "/v1/session", &[]).json()["name"],
        "token:test"
    );
    let revoked = command(server.folder.path(), &[])
        .args(["token", "revoke", id])
        .status()
        .unwrap();
    assert!(revoked.success());
    let start = std::time::Instant::now();
    while with_cookie("GET", "/v1/session", &[]).status == 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
    }
    As(&server, &all)
        .get("/v1/attachments")
        .assert_problem(401, "unauthorized", "revoked");
    assert!(
        !server.log().contains(all.splitn(3, '_').nth(2).unwrap()),
        "no secret in the log"
    );
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let (server, all) = start_with(&[("ATTACHE_SERVER__PUBLIC_URL", "https://files.example.org")]);
    let id = As(&server, &all).put("page:1", b"hello");
    let body = json!({"token": all}).to_string();
    let signed_in = server.request("POST", "/v1/session", &[], body.as_bytes());
    let cookie = signed_in.header("set-cookie").unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let own = format!("http://{}", server.address);
    let target = format!("/v1/attachments/{id}");
    let with = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("cookie", session)]
            .iter()
            .chain(headers)
            .copied()
            .collect();
        server.request("DELETE", &target, &headers, b"")
    };
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")][..],
        &[("origin", "https://files.example.org.evil.example")][..],
        &[("origin", "http://127.0.0.1:1")][..],
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")][..],
    ] {
        with(foreign).assert_problem(403, "forbidden", &format!("{foreign:?}"));
    }
    let get = [("cookie", session), ("origin", "https://evil.example")];
    assert_eq!(
        server.request("GET", &target, &get, b"").status,
        200,
        "reading changes nothing"
    );
    let bearer = format!("Bearer {all}");
    let mine = [
        ("authorization", bearer.as_str()),
        ("origin", "https://app.example"),
    ];
    let put = server.request("POST", "/v1/attachments?filename=a", &mine, b"x");
    assert_eq!(put.status, 201, "no browser sends a bearer token by itself");
    for good in [own.as_str(), "https://files.example.org"] {
        assert_eq!(with(&[("origin", good)]).status, 204, "{good}");
    }
}

#[test]
fn an_open_server_is_not_opened_by_a_page_that_reaches_it() {
    let server = Server::start(&[]);
    let own = format!("http://{}", server.address);
    let host = format!("evil.example:{}", server.address.port());
    let rebound = format!("http://{host}");
    let post = |origin: &str| {
        let headers = [("origin", origin), ("content-type", "text/plain")];
        server.request("POST", "/v1/attachments?filename=a", &headers, b"x")
    };
    post("https://evil.example").assert_problem(403, "forbidden", "another site");
    assert_eq!(post(&own).status, 201);
    // A name that its owner's DNS server points at 127.0.0.1 is the same origin as itself.
    let request = format!(
        "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: {host}\r\norigin: {rebound}\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
    );
    server
        .send(request.as_bytes())
        .assert_problem(403, "forbidden", "DNS rebinding");
}

#[test]
fn off_loopback_a_server_wants_to_know_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let refused = command(folder.path(), &[])
        .args(["serve", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("attache token create") && said.contains("auth.mode"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_auth_is_said_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), "{\"keys\":[]}").unwrap();
    for (variables, words) in [
        (
            vec![("ATTACHE_AUTH__MODE", "jwt")],
            vec![
                "auth.jwt.issuer",
                "auth.jwt.audience",
                "auth.jwt.jwks_file or auth.jwt.jwks_url",
            ],
        ),
        (
            vec![("ATTACHE_AUTH__MODE", "forward")],
            vec!["auth.forward.url"],
        ),
        (
            vec![("ATTACHE_AUTH__MODE", "tokens")],
            vec!["auth.mode", "open, token, jwt, forward"],
        ),
        (
            vec![("ATTACHE_AUTH__FORWARD__URL", "ftp://u:hunter2@x")],
            vec!["auth.forward.url"],
        ),
        (
            vec![
                ("ATTACHE_AUTH__MODE", "jwt"),
                ("ATTACHE_AUTH__JWT__ISSUER", "i"),
                ("ATTACHE_AUTH__JWT__AUDIENCE", "a"),
                ("ATTACHE_AUTH__JWT__JWKS_URL", "http://keys.example.org/"),
            ],
            vec!["auth.jwt.jwks_url must be https"],
        ),
        (
            vec![
                ("ATTACHE_AUTH__MODE", "jwt"),
                ("ATTACHE_AUTH__JWT__ISSUER", "i"),
                ("ATTACHE_AUTH__JWT__AUDIENCE", "a"),
                ("ATTACHE_AUTH__JWT__JWKS_FILE", "keys.json"),
            ],
            vec!["auth.jwt.jwks_file", "no key for EdDSA"],
        ),
    ] {
        let output = command(folder.path(), &variables)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{variables:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

// JSON Web Tokens.

const ISSUER: &str = "https://login.example.org";
const AUDIENCE: &str = "attache";

/// One key of each kind, and the set that publishes them.
struct Signer {
    ed: signature::Ed25519KeyPair,
    ec: signature::EcdsaKeyPair,
    rsa: signature::RsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let method = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = signature::EcdsaKeyPair::generate_pkcs8(method, &random).unwrap();
        let pem = include_str!("fixtures/client-certificate.pem");
        let rsa = pem.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap();
        let rsa = rsa
            .split("-----END")
            .next()
            .unwrap()
            .replace(char::is_whitespace, "");
        Self {
            ed: signature::Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: signature::EcdsaKeyPair::from_pkcs8(method, ec.as_ref(), &random).unwrap(),
            rsa: signature::RsaKeyPair::from_pkcs8(&STANDARD.decode(rsa).unwrap()).unwrap(),
        }
    }

    fn keys(&self) -> serde_json::Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.ec.public_key().as_ref();
        let rsa: ring::rsa::PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let (n, e) = (rsa.n, rsa.e);
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": text(self.ed.public_key().as_ref())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": text(&n), "e": text(&e)},
            {"kty": "RSA", "kid": "encrypting", "use": "enc", "n": text(&n), "e": text(&e)},
            {"kty": "oct", "kid": "shared", "k": text(b"a shared secret")},
        ]})
    }

    /// A token with this head and these claims, signed with the key of `kid`.
    fn sign(&self, head: &serde_json::Value, claims: &serde_json::Value) -> String {
        let text = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(head), text(claims));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let signature = match head["kid"].as_str().unwrap_or("ed") {
            "ec" => self.ec.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "rsa" | "encrypting" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa
                    .sign(&signature::RSA_PKCS1_SHA256, &random, bytes, &mut signature)
                    .unwrap();
                signature
            }
            _ => self.ed.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> serde_json::Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "user-7", "exp": now() + 60,
        "scope": "openid read write", "owner": ["page:*"]})
}

const JWT: [(&str, &str); 3] = [
    ("ATTACHE_AUTH__MODE", "jwt"),
    ("ATTACHE_AUTH__JWT__ISSUER", ISSUER),
    ("ATTACHE_AUTH__JWT__AUDIENCE", AUDIENCE),
];

#[test]
fn tokens_of_the_issuer_open_what_they_say_whatever_the_kind_of_key() {
    let signer = Signer::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), signer.keys().to_string()).unwrap();
    let mut variables = JWT.to_vec();
    variables.push(("ATTACHE_AUTH__JWT__JWKS_FILE", "keys.json"));
    let server = Server::start_in(folder, &variables, &[]);
    for (kid, alg) in [("ed", "EdDSA"), ("ec", "ES256"), ("rsa", "RS256")] {
        let token = signer.sign(&json!({"alg": alg, "typ": "JWT", "kid": kid}), &claims());
        let caller = As(&server, &token);
        let id = caller.put("page:1", b"hello");
        assert_eq!(
            caller.get(&format!("/download/{id}")).body,
            b"hello",
            "{kid}"
        );
        let session = caller.get("/v1/session").json();
        assert_eq!(
            session,
            json!({"name": "jwt:user-7", "scopes": ["read", "write"], "owners": ["page:*"]})
        );
        caller
            .request("DELETE", &format!("/v1/attachments/{id}"), b"")
            .assert_problem(403, "forbidden", kid);
    }
    let nowhere = {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("owner");
        signer.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims)
    };
    assert_eq!(
        As(&server, &nowhere).get("/v1/attachments").json()["items"],
        json!([]),
        "no owner is none, not all"
    );
}

#[test]
fn tokens_that_are_not_the_issuers_for_us_and_now_open_nothing() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), signer.keys().to_string()).unwrap();
    let mut variables = JWT.to_vec();
    variables.push(("ATTACHE_AUTH__JWT__JWKS_FILE", "keys.json"));
    let server = Server::start_in(folder, &variables, &[]);
    let good = json!({"alg": "EdDSA", "kid": "ed"});
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[key] = value;
        signer.sign(&good, &claims)
    };
    let without = |key: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(key);
        signer.sign(&good, &claims)
    };
    let unsigned = |head: serde_json::Value, signature: &str| {
        let text = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", text(&head), text(&claims()))
    };
    // Key confusion: a MAC keyed with the public key, which everybody knows.
    let confused = {
        let key = signer.rsa.public().as_ref().to_vec();
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": "rsa"}).to_string());
        let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let mac = ring::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
    };
    let shared = {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": "shared"}).to_string());
        let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a shared secret");
        format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()).as_ref())
        )
    };
    let whole = signer.sign(&good, &claims());
    assert_eq!(As(&server, &whole).get("/v1/attachments").status, 200);
    let other_claims = URL_SAFE_NO_PAD.encode(with("sub", json!("user-8")));
    let spliced: Vec<&str> = whole.split('.').collect();
    let spliced = format!("{}.{other_claims}.{}", spliced[0], spliced[2]);
    for (what, token) in [
        ("a stranger's signature", stranger.sign(&good, &claims())),
        (
            "no algorithm",
            unsigned(json!({"alg": "none", "kid": "ed"}), ""),
        ),
        (
            "no algorithm, capitals",
            unsigned(json!({"alg": "NONE", "kid": "ed"}), ""),
        ),
        ("an empty signature", unsigned(good.clone(), "")),
        ("key confusion", confused),
        ("a shared key", shared),
        (
            "another algorithm than the key's",
            signer.sign(&json!({"alg": "ES256", "kid": "ed"}), &claims()),
        ),
        (
            "RS256's key with RS512",
            signer.sign(&json!({"alg": "RS512", "kid": "rsa"}), &claims()),
        ),
        (
            "a key for encryption",
            signer.sign(&json!({"alg": "RS256", "kid": "encrypting"}), &claims()),
        ),
        (
            "an unknown key",
            signer.sign(&json!({"alg": "EdDSA", "kid": "who"}), &claims()),
        ),
        (
            "no key named, and several there",
            signer.sign(&json!({"alg": "EdDSA"}), &claims()),
        ),
        ("other claims", spliced),
        ("expired", with("exp", json!(now() - 60))),
        (
            "expired, as text",
            with("exp", json!((now() - 60).to_string())),
        ),
        ("not yet", with("nbf", json!(now() + 120))),
        (
            "not yet, as text",
            with("nbf", json!((now() + 120).to_string())),
        ),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("another audience", with("aud", json!(["wiki", "forum"]))),
        ("no end", without("exp")),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("nobody", without("sub")),
        ("an owner that is no pattern", with("owner", json!("*:*"))),
        ("too long", with("x", json!("x".repeat(9000)))),
        ("not a token", "a.b.c".to_owned()),
    ] {
        let answer = As(&server, &token).get("/v1/attachments");
        answer.assert_problem(401, "unauthorized", what);
    }
    let late = with("exp", json!(now() - 10));
    assert_eq!(
        As(&server, &late).get("/v1/attachments").status,
        200,
        "clocks differ by seconds"
    );
}

#[test]
fn published_keys_are_asked_for_once_and_again_when_they_change() {
    let (old, new) = (Signer::new(), Signer::new());
    let keys = Arc::new(Mutex::new(old.keys()));
    let application = Application::start({
        let keys = keys.clone();
        move |_| (200, keys.lock().unwrap().to_string())
    });
    let url = format!("http://{}/keys", application.address);
    let mut variables = JWT.to_vec();
    variables.push(("ATTACHE_AUTH__JWT__JWKS_URL", &url));
    let server = Server::start(&variables);
    assert_eq!(application.asked(), 0);
    let token = old.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(As(&server, &token).get("/v1/attachments").status, 200));
        }
    });
    assert_eq!(application.asked(), 1, "one question for all");

    // The issuer signs with a key that was not there: we look once more, and not for every such token.
    let mut renamed = new.keys();
    renamed["keys"][0]["kid"] = json!("new");
    *keys.lock().unwrap() = renamed;
    let fresh = new.sign(&json!({"alg": "EdDSA", "kid": "new"}), &claims());
    assert_eq!(As(&server, &fresh).get("/v1/attachments").status, 200);
    let asked = application.asked();
    assert!(asked <= 3, "{asked}");
    for _ in 0..20 {
        let made_up = new.sign(&json!({"alg": "EdDSA", "kid": "made-up"}), &claims());
        As(&server, &made_up)
            .get("/v1/attachments")
            .assert_problem(401, "unauthorized", "made up");
    }
    assert!(
        application.asked() <= asked + 1,
        "a stranger cannot make us ask"
    );
}

// The application that is asked.

/// An application that answers each question with a status and a body.
struct Application {
    address: SocketAddr,
    questions: Arc<Mutex<Vec<String>>>,
}

impl Application {
    fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let questions: Arc<Mutex<Vec<String>>> = Arc::default();
        let (answer, asked) = (Arc::new(answer), questions.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, asked) = (answer.clone(), asked.clone());
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            match reader.read_line(&mut head) {
                                Ok(0) | Err(_) => return,
                                Ok(_) => {}
                            }
                        }
                        asked.lock().unwrap().push(head.to_lowercase());
                        let (status, body) = answer(&head.to_lowercase());
                        let more = match status {
                            302 => format!("location: {body}\r\n"),
                            _ => String::new(),
                        };
                        let answer = format!(
                            "HTTP/1.1 {status} x\r\n{more}content-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, questions }
    }

    fn asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }

    fn last(&self) -> String {
        self.questions
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

#[test]
fn the_application_says_who_may_read() {
    let application = Application::start(|head| {
        let status = match head {
            _ if head.contains("cookie: who=broken") => 500,
            _ if head.contains("x-attache-owner: page:1")
                && head.contains("cookie: who=reader") =>
            {
                204
            }
            _ if head.contains("cookie: who=") => 403,
            _ => 401,
        };
        (status, String::new())
    });
    let url = format!("http://{}/may-read?from=attache", application.address);
    let (server, all) = start_with(&[
        ("ATTACHE_AUTH__MODE", "token,forward"),
        ("ATTACHE_AUTH__FORWARD__URL", &url),
        ("ATTACHE_AUTH__FORWARD__HEADERS", "cookie,authorization"),
    ]);
    let all = As(&server, &all);
    let (one, two) = (all.put("page:1", b"one"), all.put("page:2", b"two"));
    assert_eq!(application.asked(), 0, "a token needs no application");
    let read = |id: &str, who: &str| {
        let headers = [
            ("cookie", who),
            ("x-attache-owner", "page:1"),
            ("x-forwarded-uri", "/admin"),
        ];
        server.request("GET", &format!("/attachment/{id}"), &headers, b"")
    };
    assert_eq!(read(&one, "who=reader").body, b"one");
    let question = application.last();
    for line in [
        "get /may-read?from=attache ",
        &format!("x-forwarded-uri: /attachment/{one}"),
        "x-forwarded-method: get",
        &format!("x-attache-id: {one}"),
        "x-attache-owner: page:1",
        "cookie: who=reader",
    ] {
        assert!(question.contains(line), "{line}: {question}");
    }
    assert_eq!(
        question.matches("x-attache-owner").count(),
        1,
        "ours alone: {question}"
    );
    assert!(!question.contains("/admin"), "{question}");

    // No, and not there, are one answer; the application was asked about both.
    let refused = read(&two, "who=reader");
    refused.assert_problem(404, "not_found", "another page");
    let absent = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11";
    read(absent, "who=reader").assert_problem(404, "not_found", "not there");
    assert!(application.last().contains(absent));
    read(&one, "theme=dark").assert_problem(401, "unauthorized", "signed out");
    read(absent, "theme=dark").assert_problem(401, "unauthorized", "signed out");
    let broken = read(&one, "who=broken");
    broken.assert_problem(503, "upstream_unavailable", "fail closed");
    assert!(broken.header("retry-after").is_some());

    // A decision holds for a moment, for this reader and this attachment.
    let asked = application.asked();
    for _ in 0..10 {
        assert_eq!(read(&one, "who=reader").status, 200);
    }
    assert_eq!(application.asked(), asked);
    read(&one, "who=other").assert_problem(404, "not_found", "another reader");
    assert_eq!(application.asked(), asked + 1);
    // It decides about reading only.
    let cookie = [("cookie", "who=reader")];
    for (method, target) in [
        ("GET", "/v1/attachments"),
        ("DELETE", "/v1/attachments/x"),
        ("GET", "/v1/status"),
    ] {
        server
            .request(method, target, &cookie, b"")
            .assert_problem(401, "unauthorized", target);
    }
}

#[test]
fn an_application_that_is_silent_or_gone_lets_nobody_in() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for address in [silent.local_addr().unwrap(), gone] {
        let url = format!("http://{address}/");
        let (server, all) = start_with(&[
            ("ATTACHE_AUTH__MODE", "token,forward"),
            ("ATTACHE_AUTH__FORWARD__URL", &url),
            ("ATTACHE_AUTH__FORWARD__TIMEOUT", "300ms"),
        ]);
        let id = As(&server, &all).put("page:1", b"one");
        let answer = server.request("GET", &format!("/download/{id}"), &[("cookie", "a=b")], b"");
        answer.assert_problem(503, "upstream_unavailable", &url);
    }
}

#[test]
fn a_reload_changes_who_may_enter_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let all = token(folder.path(), &["--scope", "read,admin"]);
    let signer = Signer::new();
    let file = folder.path().join("attache.toml");
    std::fs::write(folder.path().join("keys.json"), signer.keys().to_string()).unwrap();
    std::fs::write(&file, "[auth]\nmode = \"token\"").unwrap();
    let server = Server::start_in(folder, &[], &["--config", "attache.toml"]);
    let jwt = signer.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    let admin = As(&server, &all);
    As(&server, &jwt)
        .get("/v1/attachments")
        .assert_problem(401, "unauthorized", "not yet");
    let both = "[auth]\nmode = [\"token\", \"jwt\"]\n[auth.jwt]\njwks_file = \"keys.json\"\n\
                issuer = \"https://login.example.org\"\naudience = \"attache\"";
    std::fs::write(&file, both).unwrap();
    assert_eq!(admin.request("POST", "/v1/admin/reload", b"").status, 200);
    assert_eq!(As(&server, &jwt).get("/v1/attachments").status, 200);
    // Keys that cannot be read leave those that can.
    std::fs::write(server.folder.path().join("keys.json"), "{").unwrap();
    admin
        .request("POST", "/v1/admin/reload", b"")
        .assert_problem(422, "misconfigured", "a bad key set");
    assert_eq!(As(&server, &jwt).get("/v1/attachments").status, 200);
}

#[test]
fn the_audit_log_says_who_did_what_and_no_secret() {
    let (server, all) = start_with(&[
        ("ATTACHE_LOG", "info,audit=debug"),
        ("ATTACHE_LOG_FORMAT", "json"),
    ]);
    let caller = As(&server, &all);
    let id = caller.put("page:1", b"hello");
    let made = caller
        .request("POST", &format!("/v1/attachments/{id}/url"), b"{}")
        .json();
    let target = made["url"]
        .as_str()
        .unwrap()
        .split_once(&server.address.to_string())
        .unwrap()
        .1
        .to_owned();
    server.get(&target);
    caller.request("DELETE", &format!("/v1/attachments/{id}"), b"");
    server.request(
        "POST",
        "/v1/session",
        &[],
        b"{\"token\":\"att_0123456789abcdef_guess\"}",
    );
    let log = server.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["target"] == "audit")
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["who", "action", "outcome"].map(|key| line[key].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ["token:test", "upload", "ok"],
        ["token:test", "url", "ok"],
        ["link", "read", "ok"],
        ["token:test", "delete", "ok"],
        ["unknown", "sign_in", "unauthorized"],
    ];
    assert_eq!(told, expected.map(|line| line.map(str::to_owned)));
    assert!(
        lines[..4]
            .iter()
            .all(|line| line["attachment"] == id.as_str())
    );
    let secret = all.splitn(3, '_').nth(2).unwrap();
    let sig = target.split("sig=").nth(1).unwrap();
    assert!(
        !log.contains(secret) && !log.contains(sig) && !log.contains("_guess"),
        "{log}"
    );
}

#[test]
fn an_application_cannot_send_us_elsewhere() {
    let elsewhere = Application::start(|_| (200, String::new()));
    let target = format!("http://{}/", elsewhere.address);
    let application = Application::start(move |_| (302, target.clone()));
    let url = format!("http://{}/may-read", application.address);
    let (server, all) = start_with(&[
        ("ATTACHE_AUTH__MODE", "token,forward"),
        ("ATTACHE_AUTH__FORWARD__URL", &url),
    ]);
    let id = As(&server, &all).put("page:1", b"one");
    // The reader has no say in whom we ask either.
    let request = format!(
        "GET http://{}/attachment/{id} HTTP/1.1\r\nhost: {}\r\nx-forwarded-host: {}\r\ncookie: a=b\r\nconnection: close\r\n\r\n",
        elsewhere.address, elsewhere.address, elsewhere.address
    );
    server
        .send(request.as_bytes())
        .assert_problem(404, "not_found", "a redirect is no yes");
    assert_eq!((application.asked(), elsewhere.asked()), (1, 0));
}

#[test]
fn tokens_with_a_head_or_a_subject_that_could_mean_something_else_open_nothing() {
    let signer = Signer::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), signer.keys().to_string()).unwrap();
    let mut variables = JWT.to_vec();
    variables.push(("ATTACHE_AUTH__JWT__JWKS_FILE", "keys.json"));
    let server = Server::start_in(folder, &variables, &[]);
    let status = |token: &str| As(&server, token).get("/v1/session").status;
    let head = |more: &[(&str, serde_json::Value)]| {
        let mut head = json!({"alg": "EdDSA", "kid": "ed"});
        for (key, value) in more {
            head[*key] = value.clone();
        }
        signer.sign(&head, &claims())
    };
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[key] = value;
        signer.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims)
    };
    for good in [
        head(&[("typ", json!("JWT"))]),
        head(&[("typ", json!("at+jwt"))]),
        head(&[("typ", json!("application/at+jwt"))]),
        with("scp", json!(["delete"])),
        with("sub", json!("u".repeat(255))),
    ] {
        assert_eq!(status(&good), 200, "{good}");
    }
    for bad in [
        head(&[("crit", json!(["b64"])), ("b64", json!(true))]),
        head(&[("typ", json!("logout+jwt"))]),
        with("iss", json!([ISSUER, "https://elsewhere.example"])),
        with("sub", json!("")),
        with("sub", json!("user-7\u{0}")),
        with("sub", json!("u".repeat(256))),
        with(
            "owner",
            json!((0..257).map(|n| format!("page:{n}")).collect::<Vec<_>>()),
        ),
    ] {
        assert_eq!(status(&bad), 401, "{bad}");
    }
    let both = As(&server, &with("scp", json!("delete")))
        .get("/v1/session")
        .json();
    assert_eq!(both["scopes"], json!(["read", "write", "delete"]));
}

#[test]
fn a_page_of_another_site_can_neither_sign_somebody_in_nor_out() {
    let (server, all) = start();
    let body = json!({"token": all}).to_string();
    let own = format!("http://{}", server.address);
    let secure = format!("https://{}", server.address);
    let post =
        |headers: &[(&str, &str)]| server.request("POST", "/v1/session", headers, body.as_bytes());
    for foreign in [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        // The same host by another scheme is another origin.
        [("origin", secure.as_str())],
    ] {
        post(&foreign).assert_problem(403, "forbidden", &format!("{foreign:?}"));
    }
    post(&[("content-type", "text/plain")]).assert_problem(
        400,
        "bad_request",
        "what forms can send",
    );
    let signed_in = post(&[
        ("origin", &own),
        ("content-type", "application/json; charset=utf-8"),
    ]);
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").unwrap();
    let session = cookie.split(';').next().unwrap().to_owned();
    let get = || {
        server
            .request("GET", "/v1/session", &[("cookie", &session)], b"")
            .status
    };
    assert_eq!(get(), 200);
    let foreign = [
        ("cookie", session.as_str()),
        ("origin", "https://evil.example"),
    ];
    server
        .request("DELETE", "/v1/session", &foreign, b"")
        .assert_problem(403, "forbidden", "signing out");
    assert_eq!(get(), 200);
}

#[test]
fn a_session_that_was_signed_out_of_is_over_wherever_its_cookie_was_copied_to() {
    let (mut server, all) = start();
    let body = json!({"token": all}).to_string();
    let sign_in = |server: &Server| {
        let signed_in = server.request("POST", "/v1/session", &[], body.as_bytes());
        let cookie = signed_in.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let get = |server: &Server, cookie: &str| {
        server
            .request("GET", "/v1/session", &[("cookie", cookie)], b"")
            .status
    };
    let (first, second) = (sign_in(&server), sign_in(&server));
    assert_ne!(first, second);
    let out = server.request("DELETE", "/v1/session", &[("cookie", &first)], b"");
    assert_eq!(out.status, 204);
    assert_eq!(get(&server, &first), 401);
    assert_eq!(get(&server, &second), 200, "another one goes on");
    server.restart(&[MODE]);
    assert_eq!(get(&server, &first), 401, "after a restart, too");
    assert_eq!(get(&server, &second), 200);
}

#[test]
fn the_audit_log_says_from_where_and_strangers_cannot_fill_it() {
    let (server, all) = start_with(&[
        ("ATTACHE_LOG", "info"),
        ("ATTACHE_LOG_FORMAT", "json"),
        ("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ]);
    let bearer = format!("Bearer {all}");
    let from = [
        ("authorization", bearer.as_str()),
        ("x-forwarded-for", "203.0.113.9:4711"),
    ];
    let put = server.request("POST", "/v1/attachments?filename=a", &from, b"x");
    assert_eq!(put.status, 201);
    let refused = server.request(
        "POST",
        "/v1/attachments?filename=a&owner=nonsense",
        &from,
        b"x",
    );
    assert_eq!(refused.status, 400);
    for _ in 0..200 {
        let wrong = [
            ("authorization", "Bearer att_0123456789abcdef_wrong"),
            ("x-forwarded-for", "198.51.100.7"),
        ];
        assert_eq!(
            server.request("GET", "/v1/attachments", &wrong, b"").status,
            401
        );
    }
    let log = server.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["target"] == "audit")
        .collect();
    let of = |action: &str| {
        lines
            .iter()
            .filter(|line| line["action"] == action)
            .collect::<Vec<_>>()
    };
    let uploads = of("upload");
    assert_eq!(uploads.len(), 2, "{log}");
    assert!(
        uploads.iter().all(|line| line["client"] == "203.0.113.9"),
        "{uploads:?}"
    );
    assert_eq!(uploads[1]["outcome"], "bad_request");
    let tries = of("authenticate");
    assert_eq!(tries.len(), 60, "{}", tries.len());
    assert!(
        tries
            .iter()
            .all(|line| line["client"] == "198.51.100.7" && line["outcome"] == "unauthorized")
    );
}

#[test]
fn who_is_not_an_operator_learns_whether_the_server_is_ready_and_no_more() {
    let (server, all) = start();
    assert_eq!(server.get("/readyz").json(), json!({"status": "ok"}));
    let told = As(&server, &all).get("/readyz").json();
    assert!(
        told["storage"]
            .as_str()
            .is_some_and(|text| text.contains("local")),
        "{told}"
    );
}

#[test]
fn tokens_are_listed_and_ended_by_the_short_words_of_other_commands_too() {
    let folder = tempfile::tempdir().unwrap();
    token(folder.path(), &["--scope", "read"]);
    let run = |arguments: &[&str]| {
        let output = command(folder.path(), &[MODE])
            .arg("token")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed: serde_json::Value = serde_json::from_str(&run(&["ls", "--json"])).unwrap();
    run(&["rm", listed["id"].as_str().unwrap()]);
    assert_eq!(run(&["list", "--json"]), "");
}

#[test]
fn nothing_is_made_before_the_first_token_is() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (["ls", "--json"].as_slice(), 0),
        (&["rm", "0123456789abcdef"], 3),
        (&["end-sessions"], 0),
    ] {
        let mut command = command(folder.path(), &[MODE]);
        let output = command.arg("token").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}
