//! The arrows of ARCHITECTURE.md, kept true: who may use whom inside this crate, and which crates only one module knows.

use std::path::Path;

use test_support::layers::Layers;

/// Each module with those that it may use; see [`Layers::broken`].
const ARROWS: &str = "
    lib ->
    access -> attachment attachment/filename base64 error private secret
    attachment -> attachment/filename error
    attachment/filename -> attachment error
    attachment/media -> attachment/filename
    base64 ->
    bounded ->
    catalog -> access attachment attachment/filename error storage
    catalog/cached -> attachment bounded catalog error storage
    catalog/sqlite -> access attachment attachment/media catalog error private storage
    config -> delivery/embedding delivery/lifetime error network secret storage/azure storage/local transfer/body transfer/budget
    delivery -> attachment attachment/filename attachment/media config delivery/lifetime error secret storage transfer/body transfer/ranges
    delivery/embedding ->
    delivery/lifetime ->
    error ->
    http -> error network observe/latency
    inspect -> config error http observe/metrics storage
    lease -> error
    network -> base64 secret
    observe ->
    observe/health -> observe/history observe/status
    observe/history ->
    observe/latency ->
    observe/metrics -> catalog error storage
    observe/status ->
    observe/trace ->
    private ->
    secret ->
    service -> *
    service/verify -> attachment catalog error storage transfer/budget
    storage -> attachment attachment/filename attachment/media error observe/latency secret transfer/body transfer/budget transfer/digests
    storage/azure -> access attachment base64 bounded error http lease network observe/trace secret storage transfer/blocks transfer/body
    storage/local -> attachment error private storage transfer/body transfer/digests transfer/budget
    storage/memory -> attachment error storage transfer/body
    transfer ->
    transfer/block_sizes -> error storage
    transfer/blocks -> error storage transfer/block_sizes transfer/body transfer/budget
    transfer/body -> error transfer/deadline transfer/digests
    transfer/budget -> error
    transfer/deadline -> error
    transfer/digests -> attachment error transfer/utf8
    transfer/ranges -> attachment error transfer/body
    transfer/utf8 ->
";

fn layers() -> Layers {
    Layers::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let broken = layers().broken(ARROWS);
    assert!(
        broken.is_empty(),
        "arrows that ARCHITECTURE.md does not have: {broken:#?}"
    );
}

/// A leaf does not know who puts it together: what both need has a file of its own.
#[test]
fn no_file_of_the_store_uses_one_that_uses_it() {
    let layers = layers();
    let ours = ["http", "inspect", "storage", "transfer"];
    let rings = layers.rings();
    let rings: Vec<_> = rings
        .iter()
        .filter(|ring| {
            ring.iter()
                .all(|file| ours.iter().any(|folder| file.starts_with(folder)))
        })
        .collect();
    assert!(rings.is_empty(), "files that use each other: {rings:#?}");
}

/// Crates of a vendor, of a database, of a protocol: each is known in one place, and can be replaced there.
#[test]
fn crates_of_a_vendor_are_known_in_one_place() {
    for (names, place) in [
        (
            ["azure_core", "azure_identity", "azure_storage_blob"].as_slice(),
            "storage/azure",
        ),
        (&["rusqlite"], "catalog/sqlite"),
        // One HTTP client, and one answer to whom it trusts.
        (
            &["hyper_rustls", "rustls_native_certs", "webpki_roots"],
            "http",
        ),
        (&["prometheus_client"], "observe"),
        (&["axum", "clap", "tower_http", "utoipa"], "nowhere"),
    ] {
        for name in names {
            for user in layers().users_of(name) {
                assert!(user.starts_with(place), "{user}.rs uses {name}");
            }
        }
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("our manifest");
    for name in ["axum", "clap", "tower-http", "utoipa"] {
        assert!(
            !manifest.contains(&format!("\n{name}")),
            "a dependency on {name}"
        );
    }
}
