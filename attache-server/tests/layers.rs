//! The arrows of ARCHITECTURE.md, kept true: who may use whom inside the server, and which crates only one module knows.

use std::path::Path;

use test_support::layers::Layers;

/// Each module with those that it may use; see [`Layers::broken`].
const ARROWS: &str = "
    allocator ->
    audit -> auth request_id
    auth -> auth/caller auth/forward auth/jwt auth/origin auth/session auth/tokens config/auth config/server net/peer
    auth/caller ->
    auth/forward -> client config/auth
    auth/jwt -> auth/caller client config/auth
    auth/known -> auth/caller auth/session
    auth/origin -> config/server cors net/peer
    auth/session ->
    auth/tokens -> auth/caller auth/known auth/session
    backup ->
    cli -> cli/adopt cli/backup cli/catalog cli/check cli/get cli/health cli/key cli/list cli/moving cli/out cli/outcome cli/put cli/remove cli/store cli/token cli/url cli/verify config otlp reload serve telemetry
    cli/adopt -> cli/out cli/outcome cli/progress cli/stop
    cli/backup -> backup cli/out cli/outcome cli/progress cli/store
    cli/catalog -> cli/out cli/outcome cli/progress cli/stop cli/store config
    cli/check -> cli/out cli/outcome cli/progress cli/store config config/s3
    cli/expiry -> cli/out cli/outcome
    cli/get -> cli/out cli/outcome cli/progress cli/stop
    cli/health -> cli/out cli/outcome client config
    cli/input ->
    cli/key -> cli/expiry cli/out cli/outcome cli/store config
    cli/list -> cli/out cli/outcome v1/json
    cli/moving -> cli/out cli/outcome cli/progress cli/stop
    cli/out -> cli/outcome
    cli/outcome ->
    cli/progress ->
    cli/put -> cli/input cli/out cli/outcome cli/progress cli/resume cli/stop cli/store v1/json
    cli/remove -> cli/out cli/outcome
    cli/resume -> cli/input cli/out
    cli/stop -> cli/outcome
    cli/store -> allocator cli/out cli/outcome config
    cli/token -> cli/expiry cli/out cli/outcome cli/store config config/auth
    cli/url -> cli/out cli/outcome config/server
    cli/verify -> cli/out cli/outcome cli/progress cli/stop
    client ->
    conditional ->
    config -> config/auth config/limits config/s3 config/server
    config/auth ->
    config/limits ->
    config/origin ->
    config/s3 -> config/origin config/server
    config/server -> config/origin
    cors -> config/server
    deliver -> audit auth/forward conditional config cors extract net/outgoing net/peer respond state
    extract -> respond
    framing -> respond upload
    gate -> audit config cors framing net/limits net/peer respond state tus
    jobs -> state
    main -> allocator cli
    net ->
    net/connection -> net/peer net/socket net/stall net/streams net/tls net/valve net/version
    net/limits -> config/limits config/server net/rates net/sign_ins
    net/outgoing -> net/valve
    net/peer -> config/server net/valve
    net/rates -> config/limits
    net/refusal ->
    net/sign_ins ->
    net/socket ->
    net/stall -> net/socket net/valve
    net/streams ->
    net/tls -> config/server
    net/valve ->
    net/version ->
    otlp -> client
    readiness ->
    reload -> auth config net/tls reload/allowed reload/source
    reload/allowed -> config config/auth reload/source
    reload/source -> config
    request_id -> otlp
    respond -> net/outgoing request_id
    router -> deliver gate net/peer request_id respond state v1 web
    s3 -> audit conditional config/s3 framing net/limits net/outgoing net/peer reload request_id respond s3/keys s3/signature state upload
    s3/keys ->
    s3/signature ->
    serve -> allocator auth/tokens config config/auth jobs net/connection net/refusal reload router s3 s3/keys state threads
    state -> audit auth auth/session auth/tokens net/limits readiness reload respond s3/keys
    telemetry -> otlp
    threads -> allocator
    tus -> tus/request tus/response tus/words
    tus/metadata ->
    tus/protocol ->
    tus/request -> tus/metadata tus/protocol
    tus/response -> respond tus/protocol
    tus/words -> respond tus/protocol tus/response
    upload -> upload/form upload/head upload/incoming
    upload/disposition ->
    upload/form -> upload/disposition upload/head upload/incoming
    upload/head ->
    upload/incoming ->
    v1 -> state v1/uploads
    v1/attachments -> audit auth extract respond state upload v1/cursor v1/json v1/visible
    v1/bulk -> audit auth extract respond state v1/visible
    v1/cursor ->
    v1/direct -> audit auth extract net/peer respond state upload v1/json v1/visible
    v1/json ->
    v1/operate -> audit auth extract respond state
    v1/session -> audit auth auth/origin auth/session extract net/peer respond state
    v1/uploads -> audit auth extract net/peer respond state tus upload v1/direct v1/json v1/visible
    v1/url -> audit auth extract net/peer respond state v1/json v1/visible
    v1/visible -> auth state
    web -> respond
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

#[test]
fn no_files_use_each_other_in_a_ring() {
    let layers = layers();
    let rings = layers.rings();
    assert!(
        rings.is_empty(),
        "files that cannot be read one without the other: {rings:#?}"
    );
}

/// Crates of a database, of a protocol, of a framework: each is known where it belongs, and can be replaced there.
#[test]
fn crates_are_known_where_they_belong() {
    let layers = layers();
    for (name, places) in [
        ("clap", "cli"),
        ("governor", "net/rates"),
        ("hyper", "client net/connection"),
        ("indicatif", "cli"),
        ("jsonwebtoken", "auth/jwt"),
        ("moka", "auth/forward"),
        ("multer", "s3/post upload/form"),
        ("opentelemetry", "otlp"),
        ("quick_xml", "s3/xml"),
        ("rusqlite", "nowhere"),
        ("rustls", "client net/tls"),
        ("tracing_subscriber", "otlp telemetry"),
        ("utoipa", "deliver respond router upload v1"),
        ("utoipa_axum", "router v1"),
        (
            "axum",
            "cors deliver extract framing gate net/connection net/streams request_id respond router s3 serve state tus upload v1 web",
        ),
    ] {
        for user in layers.users_of(name) {
            let known = places
                .split(' ')
                .any(|place| user == place || user.starts_with(&format!("{place}/")));
            assert!(known, "{user}.rs uses {name}");
        }
    }
}
