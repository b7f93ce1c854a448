use attache::Result;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load::from_parts(Some(file), environment)
}

#[test]
fn the_example_file_is_the_default_and_names_every_key() {
    let example = include_str!("../../../attache.example.toml");
    assert_eq!(load(example, &[]).expect("valid"), Settings::default());
    assert!(
        example == load::example::<Settings>(),
        "write it again: `cargo run -- config --example > attache.example.toml`"
    );
    // Whoever embeds the library can share the file.
    let shared: attache::Config =
        load::load_beside(Some(example), &[], attache::config::SERVER_SECTIONS).expect("valid");
    assert_eq!(shared, attache::Config::default());
    load::from_parts::<attache::Config>(Some(example), []).expect_err("unless it says so");
}

#[test]
fn the_sections_of_the_library_are_all_there() {
    let (mut own, mut all) = (Vec::new(), Vec::new());
    let paths = |section: &dyn Section| -> Vec<&str> {
        section.keys().iter().map(|key| key.path).collect()
    };
    attache::Config::default().each(&mut |section| own.extend(paths(section)));
    Settings::default().each(&mut |section| all.extend(paths(section)));
    let mut changed = Vec::new();
    Settings::default().each_mut(&mut |section| changed.extend(paths(section)));
    assert_eq!(all, changed);
    for section in attache::config::SERVER_SECTIONS {
        let front = format!("{section}.");
        assert!(all.iter().any(|path| path.starts_with(&front)), "{section}");
        all.retain(|path| !path.starts_with(&front));
    }
    assert_eq!(all, own);
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let config = load(
        "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n[upload]\nmax_file_bytes = \"25MiB\"\ntimeout = \"1m + size at 1KiB/s\"\n[delivery]\nmode = \"redirect\"",
        &[],
    )
    .expect("valid");
    assert_eq!(load(&load::to_toml(&config), &[]).expect("valid"), config);
}

#[test]
fn environment_wins_over_file_over_default() {
    let config = load(
        "[server]\nlisten = \"127.0.0.1:1\"\n[storage.azure]\naccount = \"fromfile\"",
        &[
            ("ATTACHE_SERVER__LISTEN", "127.0.0.1:2"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "plainname"),
            ("AZURE_TENANT_ID", "tenant"),
            ("UNRELATED", "x"),
        ],
    )
    .expect("valid");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(
        config.store.storage.azure.account.as_deref(),
        Some("plainname")
    );
    assert_eq!(
        config.store.storage.azure.tenant_id.as_deref(),
        Some("tenant")
    );
}

#[test]
fn all_faults_are_reported_at_once_with_their_keys_and_the_nearest_known_one() {
    let error = load(
        "[server]\nlisten = \"nowhere\"\nlsiten = 1\n[upload]\nblock_bytes = \"many\"\n[storage]\nbackend = \"azrue\"",
        &[("ATTACHE_STORAGE__AZURE__ACOUNT", "x"), ("ATTACHE_DELIVERY__URL_LIFETIME", "3h")],
    )
    .expect_err("faulty");
    let text = error.to_string();
    for part in [
        "server.listen is \"nowhere\"",
        "unknown key \"server.lsiten\" in the file; did you mean server.listen?",
        "upload.block_bytes is \"many\"",
        "storage.backend is \"azrue\"",
        "unknown key \"storage.azure.acount\" in ATTACHE_STORAGE__AZURE__ACOUNT; did you mean storage.azure.account?",
        "delivery.url_lifetime must be \"auto\", or between 5s and 2h",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn passwords_in_urls_are_refused_and_queries_are_not_shown() {
    for key in [
        "ATTACHE_AUTH__FORWARD__URL",
        "ATTACHE_AUTH__JWT__JWKS_URL",
        "ATTACHE_HOOKS__WEBHOOK",
        "ATTACHE_TELEMETRY__OTLP_ENDPOINT",
        "ATTACHE_SERVER__PUBLIC_URL",
    ] {
        let error = load("", &[(key, "https://user:hunter2@app.example.org/")]).expect_err(key);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("without user name"), "{error}");
    }
    let hook = [(
        "ATTACHE_HOOKS__WEBHOOK",
        "https://app.example.org/inspect?key=hunter2",
    )];
    let config = load("", &hook).expect("valid");
    assert_eq!(config.store.hooks.webhook.as_deref(), Some(hook[0].1));
    assert!(
        !load::to_toml(&config).contains("hunter2"),
        "{}",
        load::to_toml(&config)
    );
    // Cookies of readers go there.
    let forward = |url| load("", &[("ATTACHE_AUTH__FORWARD__URL", url)]);
    forward("http://127.0.0.1:3000/may-read").expect("loopback");
    forward("https://app.example.org/may-read").expect("https");
    forward("http://app.example.org/may-read").expect_err("in the clear");
}

#[test]
fn what_contradicts_itself_is_refused_and_what_is_odd_is_remarked() {
    for (file, environment) in [
        ("[auth]\nmode = [\"open\", \"token\"]", ("X", "")),
        ("", ("ATTACHE_AUTH__MODE", "")),
        ("[upload]\nmax_file_bytes = 0", ("X", "")),
        ("[delivery]\ninternal_prefix = \"//\"", ("X", "")),
    ] {
        load(file, &[environment]).expect_err(file);
    }
    assert_eq!(Settings::default().remarks(), Vec::<String>::new());
    for file in [
        "[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\npublic_url = \"https://a\"",
        "[delivery]\nmode = \"delegate\"",
        "[delivery]\nmode = \"redirect\"",
        "[upload]\nmax_file_bytes = 2\ntotal_bytes = 1",
        "[limits]\nconnections = 1",
        "[limits]\nrequests = 1",
        "[limits]\nhead_timeout = \"1ms\"",
        "[memory]\ntransfer_bytes = \"4MiB\"",
        "[auth.jwt]\nissuer = \"a\"",
        "[auth]\nmode = [\"token\"]\n[server]\nlisten = \"0.0.0.0:80\"\npublic_url = \"https://a\"",
        "[server]\ntrusted_proxies = [\"10.0.0.1\"]",
    ] {
        let config = load(file, &[]).expect(file);
        assert_eq!(config.remarks().len(), 1, "{file}: {:?}", config.remarks());
    }
}

#[test]
fn open_is_refused_off_loopback() {
    let error = load("[server]\nlisten = \"0.0.0.0:8080\"", &[]).expect_err("refused");
    assert!(error.to_string().contains("not loopback"));
}
