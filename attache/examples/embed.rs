//! attache within a program of your own, without its HTTP server: upload, deliver, sign, delete.
//!
//! ```sh
//! cargo run -p attache --example embed                   # in a temporary folder
//! cargo run -p attache --example embed -- attache.toml   # with your configuration, Azure included
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use attache::attachment::filename::Disposition;
use attache::attachment::filename::Filename;
use attache::attachment::{NewAttachment, Owner};
use attache::catalog::config::CatalogUrl;
use attache::config::SERVER_SECTIONS;
use attache::delivery::Delivery;
use attache::delivery::DeliveryRequest;
use attache::delivery::config::DeliveryMode;
use attache::{Attache, Config, ErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = match std::env::args().nth(1) {
        // A file, then the environment, then these overrides. The server's own sections may be in it.
        Some(file) => Config::load_beside(Some(Path::new(&file)), &[], SERVER_SECTIONS)?,
        // Or plain values. Everything has a default.
        None => {
            let mut config = Config::default();
            config.storage.local.root = folder.path().join("objects");
            config.catalog.url = CatalogUrl::Sqlite(folder.path().join("attache.db"));
            config
        }
    };

    // One for the whole program: clones share client, connections, token, signing key and memory.
    let attache = Attache::open(config).await?;

    // A body is a stream of chunks: of a request, a file, anything. It is pulled, never buffered whole.
    let chunks = ["Dear diary,\n", "today I attached a file.\n"];
    let body = futures::stream::iter(chunks).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
    let new = NewAttachment {
        filename: Some("diary.txt".parse::<Filename>()?),
        owner: Some("page:42".parse::<Owner>()?),
        content_type: Some("text/plain".to_owned()),
        ..NewAttachment::default()
    };
    let attachment = attache.upload(new, body).await?.attachment;
    println!(
        "stored    {} ({} bytes, {})",
        attachment.id, attachment.size, attachment.content_type
    );

    // What a request asks for goes in, what is to be answered comes out. `via` is for this example; without it the
    // configuration decides between relay, redirect and delegate.
    let request = DeliveryRequest {
        disposition: Disposition::Attachment,
        range: Some("bytes=-25".to_owned()),
        via: Some(DeliveryMode::Relay),
        ..DeliveryRequest::default()
    };
    match attache.deliver(&attachment, &request).await? {
        Delivery::Relay {
            representation,
            body: Some(mut body),
            ..
        } => {
            println!("delivers  {}", representation.disposition);
            while let Some(chunk) = body.next().await {
                print!("          {}", String::from_utf8_lossy(&chunk?));
            }
        }
        other => println!("answers   {other:?}"),
    }

    // A link that opens this one attachment for a minute: of the store where it can sign (Azure), else of a server that runs
    // under this address on the same data folder.
    let minute = Some(Duration::from_secs(60));
    let base = "https://files.example.org";
    let link = attache
        .url(&attachment.id, minute, Disposition::Inline, base)
        .await?;
    // It does not print by itself, because anyone who has it can use it.
    println!("signs     {:?} until {}", link.url, link.expires_at);
    println!("          {}", link.url.expose());

    attache.delete(&attachment.id).await?;
    match attache.find(&attachment.id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("deleted   {error}"),
        other => println!("still there? {other:?}"),
    }

    // Lets what runs finish, and closes the catalog.
    attache.close(Duration::from_secs(10)).await;
    Ok(())
}
