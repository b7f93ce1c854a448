use super::*;
use crate::http::network::Proxy;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load::from_parts(Some(file), environment)
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let config = load(
        "[upload]\nmax_file_bytes = \"25MiB\"\ntimeout = \"1m + size at 1KiB/s\"\n[delivery]\nmode = \"redirect\"",
        &[],
    )
    .expect("valid");
    assert_eq!(load(&config.to_toml(), &[]).expect("valid"), config);
}

#[test]
fn what_is_shown_is_toml_whatever_it_holds() {
    let types = "image/*, a\0b, c\"d, e\u{7f}\u{2028}";
    let config = load("", &[("ATTACHE_DELIVERY__INLINE_TYPES", types)]).expect("valid");
    assert_eq!(load(&config.to_toml(), &[]).expect("valid"), config);
}

#[test]
fn a_connection_string_is_read_from_where_other_tools_have_it() {
    let string = "AccountName=acme;AccountKey=hunter2";
    let config = load("", &[("AZURE_STORAGE_CONNECTION_STRING", string)]).expect("valid");
    let held = config.storage.azure.connection_string.expect("a string");
    assert_eq!(held.expose(), string);
}

#[test]
fn environment_wins_over_file_over_default() {
    let config = load(
        "[upload]\nconcurrency = 1\n[storage.azure]\naccount = \"fromfile\"",
        &[
            ("ATTACHE_UPLOAD__CONCURRENCY", "2"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "plainname"),
            ("AZURE_TENANT_ID", "tenant"),
            ("UNRELATED", "x"),
        ],
    )
    .expect("valid");
    assert_eq!(config.upload.concurrency, 2);
    assert_eq!(config.storage.azure.account.as_deref(), Some("plainname"));
    assert_eq!(config.storage.azure.tenant_id.as_deref(), Some("tenant"));
}

#[test]
fn all_faults_are_reported_at_once_with_their_keys_and_the_nearest_known_one() {
    let error = load(
        "[download]\nidle_timeout = \"nowhere\"\nidle_timoeut = 1\n[upload]\nblock_bytes = \"many\"\n[storage]\nbackend = \"azrue\"",
        &[("ATTACHE_STORAGE__AZURE__ACOUNT", "x"), ("ATTACHE_DELIVERY__URL_LIFETIME", "3h")],
    )
    .expect_err("faulty");
    let text = error.to_string();
    for part in [
        "download.idle_timeout is \"nowhere\"",
        "unknown key \"download.idle_timoeut\" in the file; did you mean download.idle_timeout?",
        "upload.block_bytes is \"many\"",
        "storage.backend is \"azrue\"",
        "unknown key \"storage.azure.acount\" in ATTACHE_STORAGE__AZURE__ACOUNT; did you mean storage.azure.account?",
        "delivery.url_lifetime must be \"auto\", or between 5s and 2h",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_and_what_is_odd_is_remarked() {
    for (file, environment) in [
        ("[upload]\nmax_file_bytes = 0", ("X", "")),
        ("[delivery]\ninternal_prefix = \"//\"", ("X", "")),
    ] {
        load(file, &[environment]).expect_err(file);
    }
    assert_eq!(Config::default().remarks(), Vec::<String>::new());
    for file in [
        "[delivery]\nmode = \"redirect\"",
        "[upload]\nmax_file_bytes = 2\ntotal_bytes = 1",
        "[memory]\ntransfer_bytes = \"4MiB\"",
    ] {
        let config = load(file, &[]).expect(file);
        assert_eq!(config.remarks().len(), 1, "{file}: {:?}", config.remarks());
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_no_keys_and_no_faults() {
    for name in [
        "ATTACHE_PORT",
        "ATTACHE_SERVICE_HOST",
        "ATTACHE_SERVICE_PORT",
        "ATTACHE_SERVICE_PORT_HTTP",
        "ATTACHE_PORT_8080_TCP",
        "ATTACHE_PORT_8080_TCP_PROTO",
        "ATTACHE_PORT_8080_TCP_PORT",
        "ATTACHE_PORT_8080_TCP_ADDR",
        "ATTACHE_FILES_SERVICE_HOST",
        "ATTACHE_FILES_PORT_443_TCP_ADDR",
    ] {
        load("", &[(name, "tcp://10.96.0.1:8080")]).expect(name);
    }
    for name in [
        "ATTACHE_SERVER_LISTEN",
        "ATTACHE_PORT_8080",
        "ATTACHE_SERVER__PORT_HTTP",
        "ATTACHE_TRANSPORT",
    ] {
        let error = load("", &[(name, "8080")]).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_proxy_of_the_environment_is_the_default_and_its_password_is_not_shown() {
    let azure = "[storage]\nbackend = \"azure\"\n[storage.azure]\naccount = \"acme\"\ncontainer = \"files\"\n\
                 account_key = \"a2V5\"\n";
    let environment = [
        ("https_proxy", "http://lower:1"),
        ("HTTPS_PROXY", "http://u:hunter2@upper:2"),
        ("NO_PROXY", "example.org,10.0.0.0/8"),
    ];
    let config = load(azure, &environment).expect("valid");
    let shown = config.to_toml();
    assert!(
        shown.contains("proxy = \"http://[redacted]@upper:2\""),
        "{shown}"
    );
    assert!(
        shown.contains("no_proxy = \"example.org, 10.0.0.0/8\""),
        "{shown}"
    );
    assert!(!format!("{shown}{config:?}").contains("hunter2"));
    for (own, used) in [
        ("proxy = \"http://own:3\"", Some("own:3")),
        ("proxy = \"none\"", None),
    ] {
        let config = load(&format!("{azure}[network]\n{own}"), &environment).expect("valid");
        let proxy = config.network.proxy.as_ref();
        assert_eq!(proxy.map(Proxy::address), used);
    }
    let bad = ("HTTPS_PROXY", "socks5://u:hunter2@proxy");
    let error = load(azure, &[bad]).expect_err("not supported").to_string();
    assert!(
        error.contains("network.proxy must be an HTTP proxy"),
        "{error}"
    );
    assert!(
        error.contains("HTTPS_PROXY") && !error.contains("hunter2"),
        "{error}"
    );
    // Who uses no cloud is not stopped by it.
    assert_eq!(load("", &[bad]).expect("valid").network, Route::default());
}

#[test]
fn a_secret_from_a_file_has_no_byte_order_mark() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "\u{feff}hunter2\r\n").expect("written");
    let name = "ATTACHE_STORAGE__AZURE__CLIENT_SECRET_FILE";
    let config = load("", &[(name, path.to_str().expect("text"))]).expect("valid");
    let secret = config.storage.azure.client_secret.expect("a secret");
    assert_eq!(secret.expose(), "hunter2");
}

#[test]
fn secrets_are_not_shown() {
    let config = load(
        "",
        &[
            ("AZURE_CLIENT_SECRET", "hunter2"),
            ("ATTACHE_STORAGE__AZURE__ACCOUNT_KEY", "aHVudGVyMg=="),
            (
                "ATTACHE_STORAGE__AZURE__CONNECTION_STRING",
                "AccountKey=hunter2",
            ),
        ],
    )
    .expect("valid");
    let shown = config.to_toml() + &format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("aHVudGVyMg"),
        "{shown}"
    );
    assert!(shown.contains("client_secret = \"[redacted]\""));
}

#[test]
fn azure_needs_six_variables() {
    let variables = [
        ("ATTACHE_STORAGE__BACKEND", "azure"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
        ("AZURE_STORAGE_CONTAINER_NAME", "files"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
    ];
    let config = load("", &variables).expect("complete");
    assert_eq!(config.delivery_mode(), DeliveryMode::Redirect);
    let error = load("", &variables[..3]).map(|config| config.storage.azure.credential_in_use());
    // Without a secret another credential is tried; nothing is missing as such.
    assert!(error.is_ok());
}
