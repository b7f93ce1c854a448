//! The arrows of ARCHITECTURE.md, kept true: who may use whom inside this crate, and which crates only one module knows.

use std::path::Path;

use test_support::layers::Layers;

/// Each module with those that it may use; see [`Layers::broken`].
const ARROWS: &str = "
    access -> attachment error
    access/access_key -> access error secret
    access/access_keys -> access access/access_key access/seal access/tokens error secret
    access/config -> config/value
    access/key_file -> access/keys error private
    access/keys -> error
    access/links -> access/keys attachment attachment/filename base64 error secret
    access/seal -> access/keys error
    access/sealed -> access/keys access/seal access/secrets_file error
    access/secrets_file -> access/keys access/seal attachment error private
    access/tokens -> access base64 error secret
    attachment -> attachment/filename
    attachment/digest -> error
    attachment/disposition -> attachment/filename
    attachment/filename -> attachment/key error
    attachment/key -> attachment/digest attachment/text error
    attachment/media -> attachment/filename
    attachment/owner -> attachment/text error
    attachment/text ->
    base64 ->
    bounded ->
    catalog -> access attachment catalog/moves catalog/partial catalog/workers error storage
    catalog/bulk -> access/access_keys access/sealed attachment attachment/filename catalog error storage/multipart
    catalog/cached -> attachment bounded catalog catalog/moves catalog/partial catalog/workers error storage
    catalog/config -> config/value
    catalog/copy -> access/access_keys access/tokens attachment catalog catalog/bulk catalog/moves error
    catalog/draft -> attachment attachment/filename
    catalog/moves -> attachment error
    catalog/open -> access/access_keys access/config access/keys access/sealed access/tokens catalog catalog/bulk catalog/cached catalog/config catalog/postgres catalog/sqlite error lease secret
    catalog/partial -> attachment attachment/filename catalog/draft error storage/multipart
    catalog/postgres -> access/access_keys access/sealed access/tokens attachment attachment/media catalog catalog/bulk catalog/config catalog/moves catalog/partial catalog/range catalog/url catalog/workers error http/roots lease secret storage storage/multipart
    catalog/range -> access catalog
    catalog/sqlite -> access/access_keys access/key_file access/keys access/sealed access/tokens attachment attachment/media catalog catalog/bulk catalog/moves catalog/partial catalog/range catalog/workers error private storage storage/multipart
    catalog/url ->
    catalog/workers ->
    config -> access/config catalog/config config/key config/load config/value delivery/config error http http/network inspect/config storage/config transfer/config
    config/key -> config/value
    config/load -> config/key config/value error
    config/value -> secret
    delivery -> attachment attachment/filename attachment/media config delivery/conditions delivery/config delivery/lifetime delivery/representation delivery/request error secret storage transfer/body transfer/ranges
    delivery/conditions -> delivery/representation delivery/request error transfer/ranges
    delivery/config -> config/load config/value delivery/embedding delivery/lifetime
    delivery/embedding ->
    delivery/lifetime ->
    delivery/representation -> attachment attachment/filename attachment/media delivery/lifetime storage
    delivery/request -> attachment/filename delivery/config transfer/handover
    error ->
    http -> http/network http/roots observe/latency
    http/client -> http http/network http/roots
    http/network ->
    http/network/proxy -> base64 config/value http/network secret
    http/reach -> http
    http/roots -> error
    inspect -> error http inspect/config inspect/inspector observe/metrics storage
    inspect/config -> config/value
    inspect/inspector -> error storage
    lease -> error
    lib ->
    observe ->
    observe/health -> observe/history observe/status
    observe/history ->
    observe/labels ->
    observe/latency ->
    observe/metrics -> error observe/labels observe/reading
    observe/reading -> catalog catalog/moves observe/labels storage
    observe/status ->
    observe/trace ->
    private ->
    secret ->
    service -> *
    service/holds -> attachment
    service/finding -> attachment
    service/moved -> attachment catalog catalog/moves
    service/moving -> attachment catalog catalog/moves error service service/moved service/walk storage storage/config storage/moving transfer/body transfer/budget
    service/verify -> attachment catalog error service/finding service/walk storage transfer/budget
    service/walk -> attachment catalog error
    storage -> attachment attachment/filename attachment/media error transfer/body transfer/budget
    storage/azure -> access/links attachment base64 bounded config/value error http http/network http/reach lease observe/trace secret storage storage/bucket storage/download storage/multipart storage/vitals transfer/blocks transfer/body transfer/budget transfer/checksum transfer/digests
    storage/bucket -> attachment base64 error storage transfer/body transfer/budget transfer/checksum
    storage/config -> config/key config/load config/value error http secret storage storage/azure storage/gcs storage/local storage/memory storage/s3
    storage/download -> attachment error http transfer/body
    storage/file -> attachment error transfer/body transfer/budget transfer/handover
    storage/gcs -> base64 config/value error http http/reach lease secret storage storage/s3
    storage/local -> attachment config/value error private storage storage/bucket storage/file storage/multipart transfer/body transfer/budget transfer/checksum transfer/digests
    storage/memory -> attachment error storage storage/multipart transfer/body
    storage/moving -> attachment bounded error storage transfer/body
    storage/offer -> secret
    storage/multipart -> attachment error storage transfer/body transfer/digests
    storage/vitals -> http lease observe/latency
    storage/s3 -> access/links attachment base64 bounded config/value error http http/reach lease observe/trace secret storage storage/bucket storage/download storage/multipart storage/vitals transfer/blocks transfer/body transfer/budget transfer/checksum transfer/digests
    testing -> access access/access_keys access/keys access/tokens attachment attachment/filename catalog catalog/moves catalog/partial error storage storage/bucket storage/multipart transfer/body transfer/budget transfer/checksum
    transfer ->
    transfer/block_sizes -> error storage
    transfer/blocks -> error storage transfer/block_sizes transfer/body transfer/budget
    transfer/body -> error transfer/checksum transfer/deadline transfer/digests
    transfer/budget -> error
    transfer/checksum -> base64
    transfer/config -> config/load config/value transfer/body transfer/budget
    transfer/deadline -> config/value error
    transfer/digests -> attachment error transfer/checksum transfer/utf8
    transfer/gather -> error transfer/budget
    transfer/handover ->
    transfer/ranges -> attachment error transfer/body
    transfer/running -> attachment error transfer/digests transfer/utf8
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
fn no_files_use_each_other_in_a_ring() {
    let layers = layers();
    let rings = layers.rings();
    assert!(rings.is_empty(), "files that use each other: {rings:#?}");
}

/// Crates of a vendor, of a database, of a protocol: each is known in one place, and can be replaced there.
#[test]
fn crates_of_a_vendor_are_known_in_one_place() {
    let layers = layers();
    for (names, place) in [
        (
            [
                "azure_core",
                "azure_identity",
                "azure_storage_blob",
                "azure_storage_common",
                "azure_storage_sas",
            ]
            .as_slice(),
            "storage/azure",
        ),
        (&["rusqlite"], "catalog/sqlite"),
        (
            &["deadpool_postgres", "tokio_postgres_rustls"],
            "catalog/postgres",
        ),
        // `catalog/url` has the driver parse what follows the scheme.
        (&["tokio_postgres"], "catalog"),
        (&["ring"], "access/seal"),
        // One HTTP client, and one answer to whom it trusts.
        (
            &["hyper_rustls", "rustls_native_certs", "webpki_roots"],
            "http",
        ),
        (&["prometheus_client"], "observe"),
        (&["axum", "clap", "tower_http", "utoipa"], "nowhere"),
    ] {
        for name in names {
            for user in layers.users_of(name) {
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

/// `remove` is the one order in which bytes go, and `upload` and `sweep` the only ones that make attachments.
#[test]
fn rows_begin_and_end_in_one_place_each() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service");
    for (calls, files) in [
        (
            [".retire(", ".forget(", ".abandon("].as_slice(),
            ["remove.rs"].as_slice(),
        ),
        (&[".begin(&draft", ".commit("], &["upload.rs", "sweep.rs"]),
    ] {
        let mut found = 0;
        for entry in std::fs::read_dir(&src).expect("a folder") {
            let path = entry.expect("an entry").path();
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let name = path.file_name().expect("a name").to_string_lossy();
            for call in calls {
                let calls = text.matches(call).count();
                assert!(calls == 0 || files.contains(&&*name), "{name}: {call}");
                found += calls;
            }
        }
        assert!(found > 1, "{calls:?}");
    }
}

/// A promise that no macro names would be kept by nobody.
#[test]
fn every_promise_of_the_suites_is_bound() {
    let testing = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a source");
    let mut found = 0;
    for suite in ["storage", "bucket", "catalog", "access"] {
        let folder = testing.join(suite);
        let bound = read(&folder.join("mod.rs"));
        let (_, bound) = bound.split_once("macro_rules!").expect("a macro");
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            for line in read(&path).lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else {
                    continue;
                };
                let name = rest.split('(').next().expect("a name");
                let mut words = bound.split(|c: char| c != '_' && !c.is_alphanumeric());
                assert!(words.any(|word| word == name), "{suite}: {name}");
                found += 1;
            }
        }
    }
    assert!(found > 60, "{found} promises");
}

/// A promise that no liar breaks may be one that a case does not ask for.
#[test]
fn every_promise_of_buckets_has_a_liar() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).expect("a source");
    let liars = read(&package.join("tests/bucket/liars.rs"));
    let mut found = 0;
    for entry in std::fs::read_dir(package.join("src/testing/bucket")).expect("a folder") {
        let path = entry.expect("an entry").path();
        for line in read(&path).lines() {
            let Some(rest) = line.strip_prefix("pub async fn ") else {
                continue;
            };
            let name = rest.split('(').next().expect("a name");
            assert!(liars.contains(&format!("::{name};")), "{name}");
            found += 1;
        }
    }
    assert!(found >= 47, "{found} promises");
}

/// What a user of the library finds at its top: at most twenty names, each here on purpose.
#[test]
fn the_top_of_the_library_has_these_names() {
    const NAMES: &str = "access attachment catalog config delivery http inspect lease observe secret service storage testing \
                         transfer Attachment Config Error ErrorKind Result Attache";
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = std::fs::read_to_string(lib).expect("our sources");
    let mut hidden = false;
    let mut found = Vec::new();
    for line in lib.lines() {
        if let Some(name) = line.strip_prefix("pub mod ") {
            found.extend((!hidden).then(|| name.trim_end_matches(';').to_owned()));
        } else if let Some(path) = line.strip_prefix("pub use ") {
            let names = path.trim_end_matches(';').rsplit("::").next();
            let names = names.expect("a path").trim_matches(['{', '}']);
            found.extend(names.split(',').map(|name| name.trim().to_owned()));
        }
        hidden = line == "#[doc(hidden)]";
    }
    assert_eq!(found, NAMES.split_whitespace().collect::<Vec<_>>());
    assert!(found.len() <= 20);
}

/// A file that has grown holds a second decision.
#[test]
fn no_file_has_more_than_500_lines() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The server's are beside ours, except in a package that was published.
    let mut folders = vec![package.join("src"), package.join("../attache-server/src")];
    folders.retain(|folder| folder.exists());
    let mut lengths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let lines = text.lines().count();
                assert!(lines <= 500, "{}: {lines} lines", path.display());
                lengths.push(lines);
            }
        }
    }
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 200, "the median file is long");
}
