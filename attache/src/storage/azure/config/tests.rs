use super::*;

fn config(endpoint: Option<&str>) -> AzureConfig {
    AzureConfig {
        account: Some("acme".into()),
        container: Some("files".into()),
        endpoint: endpoint.map(Into::into),
        tenant_id: Some("t".into()),
        client_id: Some("c".into()),
        client_secret: Some(Secret::new("s")),
        ..AzureConfig::default()
    }
}

#[test]
fn endpoints_are_host_style_or_path_style() {
    let endpoint = |text: Option<&str>| {
        config(text)
            .target()
            .map(|target| target.endpoint.to_string())
            .map_err(|faults| faults[0].0)
    };
    assert_eq!(
        endpoint(None),
        Ok("https://acme.blob.core.windows.net/".into())
    );
    assert_eq!(
        endpoint(Some("https://127.0.0.1:10000")),
        Ok("https://127.0.0.1:10000/acme".into())
    );
    assert_eq!(
        endpoint(Some("https://127.0.0.1:10000/acme/")),
        Ok("https://127.0.0.1:10000/acme".into())
    );
    assert_eq!(
        endpoint(Some("https://acme.privatelink.example")),
        Ok("https://acme.privatelink.example/".into())
    );
    assert_eq!(endpoint(Some("http://127.0.0.1:10000")), Err("endpoint"));
    assert_eq!(endpoint(Some("https://host/other")), Err("endpoint"));
    assert_eq!(endpoint(Some("https://host/?sig=x")), Err("endpoint"));
}

#[test]
fn all_faults_are_found_at_once() {
    let config = AzureConfig {
        account: Some("Not An Account".into()),
        credential: CredentialKind::ClientSecret,
        ..AzureConfig::default()
    };
    let keys: Vec<_> = config.faults().into_iter().map(|(key, _)| key).collect();
    for key in [
        "tenant_id",
        "client_id",
        "client_secret",
        "account",
        "container",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}

#[test]
fn connection_strings_are_read_in_quotes_and_in_any_case() {
    let plain = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=a2V5;EndpointSuffix=core.windows.net";
    for text in [
        plain.to_owned(),
        format!("\"{plain}\""),
        format!(" '{plain}'\n"),
        plain
            .replace("AccountName", "accountname")
            .replace("AccountKey", "ACCOUNTKEY"),
    ] {
        let config = AzureConfig {
            container: Some("files".into()),
            connection_string: Some(Secret::new(text.clone())),
            ..AzureConfig::default()
        };
        let target = config
            .target()
            .unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        assert_eq!(target.account, "acme");
        let endpoint = target.endpoint.as_str();
        assert_eq!(endpoint, "https://acme.blob.core.windows.net/");
        let other = AzureConfig {
            account: Some("other".into()),
            ..config
        };
        assert_eq!(other.faults()[0].0, "account");
    }
}

#[test]
fn a_container_that_cannot_hold_our_names_is_refused() {
    for (name, fits) in [
        ("$root", false),
        ("$web", true),
        ("$logs", false),
        ("files", true),
    ] {
        let config = AzureConfig {
            container: Some(name.into()),
            ..config(None)
        };
        assert_eq!(config.faults().is_empty(), fits, "{name}");
    }
}

#[test]
fn connection_strings_bring_account_key_and_endpoint() {
    let config = AzureConfig {
        container: Some("files".into()),
        connection_string: Some(Secret::new(
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;\
             BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;",
        )),
        ..AzureConfig::default()
    };
    let target = config.target().expect("complete");
    assert_eq!(target.credential, CredentialKind::ConnectionString);
    assert_eq!(target.account, "devstoreaccount1");
    assert_eq!(
        target.endpoint.as_str(),
        "http://127.0.0.1:10000/devstoreaccount1"
    );
    assert!(!format!("{config:?} {target:?}").contains("a2V5"));
}
