//! How often a request asks the catalog.

#[path = "../../../attache/tests/common/counting.rs"]
mod counting;

use std::net::{IpAddr, Ipv4Addr};

use attache::Attache;
use attache::access::config::SecretsConfig;
use attache::access::tokens::Token;
use attache::access::{Owners, Scopes};
use attache::attachment::NewAttachment;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::storage::memory::MemoryStorage;
use axum::body::Body;
use bytes::Bytes;
use counting::Counting;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::auth::tokens::Tokens;
use crate::reload::{Loaded, Reloader, Source};
use crate::router::Api;

/// The routes, over a catalog that counts.
struct World {
    api: Api,
    attache: Attache,
    catalog: Arc<Counting>,
    /// Of an attachment of `page:1`.
    id: AttachmentId,
    /// A token for all owners, one for `page:*`, one for others.
    tokens: [String; 3],
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings: Settings =
            attache::config::load::from_parts(Some(settings), []).expect("valid");
        let config = &mut settings.store;
        config.catalog.url = CatalogUrl::Sqlite(folder.path().join("attache.db"));
        let catalog = SqliteCatalog::open(&folder.path().join("attache.db")).expect("a catalog");
        let catalog = Arc::new(Counting::over(catalog));
        let storage = Arc::new(MemoryStorage::default());
        let attache = Attache::with(config.clone(), storage, catalog.clone())
            .await
            .expect("opened");
        let new = NewAttachment {
            owner: Some("page:1".parse().expect("an owner")),
            ..NewAttachment::default()
        };
        let bytes = futures::stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
        let uploaded = attache.upload(new, bytes).await.expect("stored");

        let url = CatalogUrl::Sqlite(folder.path().join("tokens-of-the-server.db"));
        let (of_tokens, secrets) = (CatalogConfig::of(url), SecretsConfig::default());
        let database = attache::catalog::open::open(&of_tokens, &secrets, None).await;
        let database = database.expect("opened");
        let token = async |owners: Owners| {
            let read: Scopes = [Scope::Read].into_iter().collect();
            let (stored, text) = Token::generate("reader", read, owners, None).expect("few");
            database.tokens.insert(&stored).await.expect("kept");
            text.expose().to_owned()
        };
        let of = |pattern: &str| [pattern.parse().expect("a pattern")].into_iter().collect();
        let texts = [
            token(Owners::all()).await,
            token(of("page:*")).await,
            token(of("user:*")).await,
        ];
        let loaded = Loaded {
            settings,
            text: None,
        };
        let bound = (Ipv4Addr::LOCALHOST, 1).into();
        let reloader = Reloader::new(Source::default(), loaded, bound).expect("no certificate");
        let tokens = Tokens::open(database.tokens).await.expect("read");
        let app = App::new(attache.clone(), reloader, Arc::new(tokens), None).expect("an app");
        catalog.look_ups();
        Self {
            api: Api::new(app),
            attache,
            catalog,
            id: uploaded.attachment.id,
            tokens: texts,
            _folder: folder,
        }
    }

    /// The status of the response, and how often the catalog was asked.
    async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> (u16, usize) {
        let mut request = Request::builder().method(method).uri(target);
        request = request.header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = peer();
        let request = request.body(Body::empty()).expect("a request");
        let response = self.api.respond(&peer, request).await;
        let status = response.status();
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            assert_eq!(response.headers()[CONTENT_RANGE], "bytes */10");
        }
        let _ = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (status.as_u16(), self.catalog.look_ups())
    }
}

/// A client on this machine.
fn peer() -> Peer {
    Peer {
        hang_up: tokio_util::sync::CancellationToken::new(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        handover: None,
        valve: Arc::default(),
    }
}

const ABSENT: &str = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11";

#[tokio::test]
async fn a_get_asks_the_catalog_once_whatever_comes_of_it() {
    let world = World::new("[auth]\nmode = [\"token\"]\n").await;
    let bearers = world
        .tokens
        .each_ref()
        .map(|token| format!("Bearer {token}"));
    let [all, pages, others] = bearers.each_ref().map(|value| ("authorization", &**value));
    let base = "http://localhost";
    let link = world
        .attache
        .url(&world.id, None, Disposition::Inline, base);
    let link = link.await.expect("signed").url.expose().to_owned();
    world.catalog.look_ups();
    let link = link.strip_prefix(base).expect("ours");

    let (there, saved) = (
        format!("/attachment/{}", world.id),
        format!("/download/{}", world.id),
    );
    let absent = format!("/download/{ABSENT}");
    for (target, headers, status, look_ups) in [
        (&*there, &[all][..], 200, 1),
        (&saved, &[all], 200, 1),
        (&there, &[pages], 200, 1),
        (&there, &[others], 404, 1),
        (&absent, &[all], 404, 1),
        (&absent, &[pages], 404, 1),
        (&there, &[all, ("range", "bytes=2-3")], 206, 1),
        (&there, &[all, ("range", "bytes=10-")], 416, 1),
        (&there, &[pages, ("range", "bytes=10-")], 416, 1),
        (&there, &[pages, ("if-none-match", "*")], 304, 1),
        (link, &[], 200, 1),
        (&there, &[], 401, 0),
        (&there, &[("authorization", "Bearer x")], 401, 0),
        (&format!("{there}?expires=1&sig=x"), &[all], 403, 0),
        ("/attachment/%20", &[all], 404, 0),
    ] {
        let outcome = world.send(Method::GET, target, headers).await;
        assert_eq!(outcome, (status, look_ups), "{target} {headers:?}");
    }
    let head = world.send(Method::HEAD, &there, &[pages]).await;
    assert_eq!(head, (200, 1));
}

#[tokio::test]
async fn a_get_that_the_application_allows_asks_the_catalog_once() {
    let application = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = application.local_addr().expect("an address");
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = application.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8(head).expect("text");
            let status = if head.contains("who=reader") {
                204
            } else {
                403
            };
            let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    let settings = format!(
        "[auth]\nmode = [\"forward\"]\n[auth.forward]\nurl = \"http://{address}/\"\ncache = \"0s\"\n"
    );
    let world = World::new(&settings).await;
    let there = format!("/attachment/{}", world.id);
    let reader = ("cookie", "who=reader");
    for (target, headers, status) in [
        (&*there, &[reader][..], 200),
        (&there, &[reader, ("range", "bytes=10-")], 416),
        (&there, &[("cookie", "who=other")], 404),
        // The application is asked for what is not there, too.
        (&format!("/attachment/{ABSENT}"), &[reader], 404),
    ] {
        let outcome = world.send(Method::GET, target, headers).await;
        assert_eq!(outcome, (status, 1), "{target} {headers:?}");
    }
    answering.abort();
}

#[tokio::test]
async fn what_a_request_moves_on_its_way_is_small() {
    let world = World::new("").await;
    let (peer, request) = (peer(), Request::new(Body::empty()));
    let outer = std::mem::size_of_val(&world.api.respond(&peer, request));
    assert!(outer <= 2048, "{outer} bytes");
}
