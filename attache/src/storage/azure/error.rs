//! What Azure and Entra ID say, in the words of our errors: what was tried, on what, and what to change.

use std::error::Error as _;
use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::StatusCode;

use super::attempt::patience;
use super::config::{CredentialKind, Target};
use crate::error::{Error, ErrorKind};
use crate::http::connection::ProxyFailed;

/// An error of the blob service.
pub(super) fn service_error(
    error: azure_core::Error,
    target: &Target,
    skew: Option<time::Duration>,
) -> Error {
    if let Some(ours) = find::<Error>(&error) {
        return ours.to_shared();
    }
    let Target {
        account, container, ..
    } = target;
    let (kind, message) = match error.kind() {
        AzureErrorKind::HttpResponse {
            status, error_code, ..
        } => {
            // A word; whatever else a proxy may write there is not shown.
            let code = error_code.as_deref().unwrap_or_default();
            let code: String = code
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(LONGEST_TEXT)
                .collect();
            let code = code.as_str();
            match (u16::from(*status), code) {
                (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => (
                    ErrorKind::ContainerNotFound,
                    format!(
                        "azure: container \"{container}\" not found in account \"{account}\"; create it or set \
                         storage.azure.container"
                    ),
                ),
                (404, NO_ACCOUNT) => (
                    ErrorKind::UpstreamRefused,
                    format!(
                        "azure: there is no account \"{account}\" at {}; check storage.azure.account and \
                         storage.azure.endpoint",
                        target.endpoint.host_str().unwrap_or_default()
                    ),
                ),
                (404, code) if ABSENT.contains(&code) => {
                    (ErrorKind::NotFound, "there is no such object".to_owned())
                }
                (404, code) => (
                    ErrorKind::UpstreamRefused,
                    format!(
                        "azure: {} responded with 404 {code}, which is not how a store reports a missing object; check \
                         storage.azure.endpoint and what stands between",
                        target.endpoint.host_str().unwrap_or_default()
                    ),
                ),
                (409, "BlobArchived" | "BlobBeingRehydrated") => (
                    ErrorKind::Archived,
                    "the store keeps this in its archive tier, where it cannot be read; rehydrate it, which takes hours, or \
                     keep the container out of the rule that archives it"
                        .to_owned(),
                ),
                (409, "BlobUsesCustomerSpecifiedEncryption") => (
                    ErrorKind::CustomerKey,
                    "this is encrypted with a key of its writer's own (a customer-provided key), which attache does not have"
                        .to_owned(),
                ),
                (409 | 412, code) if keeper(code).is_some() => (
                    ErrorKind::Retained,
                    format!(
                        "{} keeps this as it is ({code})",
                        keeper(code).unwrap_or_default()
                    ),
                ),
                (409, "PublicAccessNotPermitted") => (
                    ErrorKind::UpstreamRefused,
                    format!(
                        "azure: a request reached account \"{account}\" without its credential, and the account does not allow anonymous access (PublicAccessNotPermitted); a proxy may take the Authorization header or the query away"
                    ),
                ),
                (409, "BlobAlreadyExists") => (
                    ErrorKind::Conflict,
                    "an object with this key exists already; it was left alone".to_owned(),
                ),
                (412, _) => (
                    ErrorKind::PreconditionFailed,
                    "the object changed meanwhile".to_owned(),
                ),
                (416, _) => (
                    ErrorKind::BadRange,
                    "the range is outside the object".to_owned(),
                ),
                (401, _) => (
                    ErrorKind::UpstreamRefused,
                    format!(
                        "azure: account \"{account}\" does not accept our token ({code}); check storage.azure.tenant_id \
                         and that storage.azure.account belongs to that tenant"
                    ),
                ),
                (403, _) => (
                    ErrorKind::UpstreamRefused,
                    forbidden(code, detail(&error).as_deref(), target, skew),
                ),
                (400, "Md5Mismatch" | "Crc64Mismatch" | "InvalidMd5") => (
                    ErrorKind::UpstreamUnavailable,
                    "azure: bytes were damaged on their way to the store".to_owned(),
                ),
                (429 | 500..=599, _) => (
                    ErrorKind::UpstreamUnavailable,
                    format!("azure: the store responded with {} {code}", u16::from(*status)),
                ),
                (status, code) => (
                    ErrorKind::Internal,
                    format!("azure: unexpected response {status} {code}"),
                ),
            }
        }
        AzureErrorKind::Connection | AzureErrorKind::Io => {
            let host = target.endpoint.host_str().unwrap_or_default();
            if timed_out(&error) {
                (
                    ErrorKind::UpstreamTimeout,
                    format!("azure: timed out waiting for a response from {host}"),
                )
            } else {
                (
                    ErrorKind::UpstreamUnavailable,
                    match proxy_hint(&error) {
                        Some(hint) => format!("azure: {host} cannot be reached {hint}"),
                        None => format!(
                            "azure: {host} cannot be reached; check the network, storage.azure.account and \
                             storage.azure.endpoint{}",
                            tls_hint(&error)
                        ),
                    },
                )
            }
        }
        _ => (ErrorKind::Internal, "azure: the client failed".to_owned()),
    };
    let asked = patience(&error).unwrap_or_default();
    let ours = Error::new(kind, message).with_source(error);
    match kind {
        ErrorKind::UpstreamUnavailable | ErrorKind::UpstreamTimeout => {
            ours.for_operator().retry_after(asked.max(RETRY_AFTER))
        }
        ErrorKind::UpstreamRefused | ErrorKind::ContainerNotFound => ours.for_operator(),
        _ => ours,
    }
}

/// What we ask of our callers where the service asks for less, or for nothing.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Who keeps a blob as it is, by the code of the refusal
/// (<https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>).
fn keeper(code: &str) -> Option<&'static str> {
    Some(match code {
        "BlobImmutableDueToPolicy" => "a retention policy of the store",
        "BlobImmutableDueToLegalHold" => "a legal hold of the store",
        "ScopeLocked" => "a lock on the account",
        "PendingCopyOperation" => "a copy that runs into it",
        code if code.starts_with("LeaseId")
            || code.starts_with("LeaseLost")
            || code.starts_with("LeaseNotPresent") =>
        {
            "somebody's lease"
        }
        _ => return None,
    })
}

/// Whether a policy or a lease keeps a blob from being changed or deleted.
pub(super) fn is_retained(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status, error_code: Some(code), .. }
        if matches!(u16::from(*status), 409 | 412) && keeper(code).is_some())
}

/// A failure to get a token.
pub(super) fn credential_error(error: &azure_core::Error, kind: CredentialKind) -> Error {
    if let Some(ours) = find::<Error>(error) {
        return ours.to_shared();
    }
    let text = chain(error);
    let code = aadsts(&text);
    let unreachable = matches!(
        find_azure(error),
        Some(AzureErrorKind::Io | AzureErrorKind::Connection)
    ) || find::<hyper_util::client::legacy::Error>(error).is_some();
    let hint = match code {
        Some("AADSTS7000215" | "AADSTS7000222") => {
            "the secret is wrong or expired; set storage.azure.client_secret (AZURE_CLIENT_SECRET) to a valid one"
        }
        Some("AADSTS700016") => {
            "the application is not known in this tenant; check storage.azure.client_id and storage.azure.tenant_id"
        }
        Some("AADSTS90002" | "AADSTS900023" | "AADSTS90013") => {
            "there is no such tenant; check storage.azure.tenant_id"
        }
        Some("AADSTS700027" | "AADSTS700024" | "AADSTS700021") => {
            "the certificate or federated token is not accepted; check storage.azure.client_certificate_file and the clock"
        }
        _ if unreachable => {
            let hint = match proxy_hint(error) {
                Some(hint) => format!("Entra ID cannot be reached {hint}"),
                None => format!(
                    "Entra ID cannot be reached; check the network and storage.azure.authority_host{}",
                    tls_hint(error)
                ),
            };
            return Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("azure: no token from the credential \"{kind}\": {hint}"),
            )
            .for_operator()
            .with_source(std::io::Error::other(text));
        }
        _ => match kind {
            CredentialKind::AzureCli => "run `az login`, or set storage.azure.credential",
            CredentialKind::ManagedIdentity => {
                "no managed identity is available here; assign one, or set storage.azure.credential"
            }
            _ => "check storage.azure.tenant_id, storage.azure.client_id and the secret",
        },
    };
    // Outages of Entra ID are answered with 5xx; everything else is an answer about us.
    let status = http_status(error);
    let outage = status.is_some_and(|status| status >= 500 || status == 429)
        || text.contains("temporarily_unavailable");
    let (kind_of_error, hint) = if outage {
        (
            ErrorKind::UpstreamUnavailable,
            "Entra ID is failing; wait until it recovers",
        )
    } else {
        (ErrorKind::UpstreamRefused, hint)
    };
    let asked = find_response(error).and_then(patience).unwrap_or_default();
    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
    Error::new(
        kind_of_error,
        format!("azure: no token from the credential \"{kind}\"{code}: {hint}"),
    )
    .for_operator()
    .retry_after(asked.max(RETRY_AFTER))
    .with_source(std::io::Error::other(text))
}

fn forbidden(
    code: &str,
    detail: Option<&str>,
    target: &Target,
    skew: Option<time::Duration>,
) -> String {
    let Target {
        account, container, ..
    } = target;
    let skew = skew.filter(|skew| skew.abs() >= time::Duration::minutes(5));
    if let Some(skew) = skew {
        return format!(
            "azure: refused ({code}), and this machine's clock is {} s {}; set the clock (NTP)",
            skew.whole_seconds().abs(),
            if skew.is_positive() {
                "behind"
            } else {
                "ahead"
            }
        );
    }
    match code {
        "AuthorizationPermissionMismatch" | "InsufficientAccountPermissions" => format!(
            "azure: our identity is not allowed to do this; give it \"Storage Blob Data Contributor\" on container \
             \"{container}\" and \"Storage Blob Delegator\" on account \"{account}\" (new roles take minutes to work)"
        ),
        "AuthorizationFailure" | "IpAuthorizationError" => format!(
            "azure: the firewall of account \"{account}\" does not let this machine in; allow its network, or set \
             storage.azure.endpoint to a private endpoint"
        ),
        "NetworkSecurityPerimeterAccessDenied" => format!(
            "azure: the network security perimeter of account \"{account}\" does not let this machine in ({code}); add a rule \
             for its address or subscription, or take the account out of the perimeter"
        ),
        "AccountIsDisabled" => format!(
            "azure: account \"{account}\" is disabled ({code}); see its state, and that of the subscription, in the portal"
        ),
        "KeyBasedAuthenticationNotPermitted" => format!(
            "azure: account \"{account}\" does not allow account keys; use another storage.azure.credential"
        ),
        _ => {
            let what = match target.credential {
                CredentialKind::AccountKey => "storage.azure.account_key",
                CredentialKind::ConnectionString => "storage.azure.connection_string",
                _ => "storage.azure.tenant_id and storage.azure.client_id",
            };
            let told = detail
                .and_then(|detail| detail.lines().next().map(plain))
                .filter(|line| !line.contains("sig") && !line.contains("signed"))
                .map(|line| format!(", {line}"))
                .unwrap_or_default();
            format!(
                "azure: account \"{account}\" refused us ({code}{told}); check {what} and the clock"
            )
        }
    }
}

/// Longest text of somebody else's that is shown. Azure's own codes and details have tens of characters.
const LONGEST_TEXT: usize = 200;

/// What somebody else wrote, so that it fits a line of ours.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_TEXT)
        .collect()
}

/// `AuthenticationErrorDetail` of the answer's XML.
fn detail(error: &azure_core::Error) -> Option<String> {
    let AzureErrorKind::HttpResponse { raw_response, .. } = error.kind() else {
        return None;
    };
    let xml = std::str::from_utf8(raw_response.as_ref()?.body()).ok()?;
    let (_, rest) = xml.split_once("<AuthenticationErrorDetail>")?;
    Some(rest.split('<').next()?.to_owned())
}

/// Whether a write was refused because something is there already.
pub(super) fn is_taken(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status: StatusCode::Conflict, error_code, .. }
        if error_code.as_deref() == Some("BlobAlreadyExists"))
}

/// What a path-style endpoint says of an account that it does not have; objects are `BlobNotFound`.
const NO_ACCOUNT: &str = "ResourceNotFound";

/// What the service says of an object that is not there; nothing else proves that it is not. `PathNotFound` is that of
/// accounts with a hierarchical namespace.
const ABSENT: [&str; 2] = ["BlobNotFound", "PathNotFound"];

/// Whether an object or snapshot is simply not there.
pub(super) fn is_absent(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status: StatusCode::NotFound, error_code: Some(code), .. }
        if ABSENT.contains(&code.as_str()))
}

/// Whether another try at the same bytes may succeed.
pub(super) fn is_transient(error: &azure_core::Error) -> bool {
    match error.kind() {
        AzureErrorKind::Io | AzureErrorKind::Connection => true,
        AzureErrorKind::HttpResponse { status, .. } => {
            matches!(u16::from(*status), 408 | 429 | 500..=599)
        }
        _ => false,
    }
}

/// The refusal among the causes.
fn find_response(error: &azure_core::Error) -> Option<&azure_core::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let azure = error.downcast_ref::<azure_core::Error>();
        if let Some(azure) = azure.filter(|azure| {
            matches!(
                azure.kind(),
                AzureErrorKind::HttpResponse {
                    raw_response: Some(_),
                    ..
                }
            )
        }) {
            return Some(azure);
        }
        cause = error.source();
    }
    None
}

fn http_status(error: &azure_core::Error) -> Option<u16> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(AzureErrorKind::HttpResponse { status, .. }) = error
            .downcast_ref::<azure_core::Error>()
            .map(azure_core::Error::kind)
        {
            return Some(u16::from(*status));
        }
        cause = error.source();
    }
    None
}

fn find_azure(error: &azure_core::Error) -> Option<&AzureErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = None;
    while let Some(error) = cause {
        if let Some(azure) = error.downcast_ref::<azure_core::Error>() {
            last = Some(azure.kind());
        }
        cause = error.source();
    }
    last
}

fn find<'a, T: std::error::Error + 'static>(error: &'a azure_core::Error) -> Option<&'a T> {
    let mut cause: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn timed_out(error: &azure_core::Error) -> bool {
    find::<std::io::Error>(error).is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// What is known of why a host cannot be reached, to be put behind a message.
pub(super) fn reach_hint(error: &azure_core::Error) -> String {
    match proxy_hint(error) {
        Some(hint) => format!(", {hint}"),
        None => tls_hint(error).to_owned(),
    }
}

/// What to do about a proxy through which there is no way.
fn proxy_hint(error: &azure_core::Error) -> Option<String> {
    let failed = find::<ProxyFailed>(error)?;
    let said = failed.to_string();
    let advice = if said.contains("authorization required") {
        "it requires a user and a password: set network.proxy to http://USER:PASSWORD@HOST:PORT"
    } else if said.contains("unsuccessful") {
        "it refuses to connect there: let it CONNECT to this host and port, check user and password in network.proxy, or add \
         the host to network.no_proxy"
    } else {
        "the proxy itself does not respond: check network.proxy (HTTPS_PROXY)"
    };
    Some(format!("through the proxy {}; {advice}", failed.address))
}

/// What to do about a certificate that was refused.
fn tls_hint(error: &azure_core::Error) -> &'static str {
    use rustls::CertificateError as Certificate;
    match find_tls(error) {
        Some(rustls::Error::InvalidCertificate(refused)) => match refused {
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                " (its certificate is not valid yet by this machine's clock: set the clock, NTP)"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                " (its certificate has expired by this machine's clock: check the clock, then the certificate)"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                " (its certificate is for another name: check the host)"
            }
            _ => " (its certificate is not trusted: set storage.azure.ca_file)",
        },
        _ => "",
    }
}

/// The error of TLS among the causes. An error of a connection holds it, but does not call it its cause.
fn find_tls(error: &azure_core::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        cause = match error.downcast_ref::<std::io::Error>() {
            Some(error) => error.get_ref().map(|held| held as _),
            None => error.source(),
        };
    }
    None
}

fn chain(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn aadsts(text: &str) -> Option<&str> {
    let start = text.find("AADSTS")?;
    let digits = text[start + 6..]
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len() - start - 6)
        // All of them have five to seven digits.
        .min(10);
    Some(&text[start..start + 6 + digits])
}

/// Any answer to a call, and any message of a credential, in our words, by the way that they take without the network in
/// between. For tests, and `cargo xtask fuzz`.
#[cfg(any(test, fuzzing))]
pub fn words_for(status: u16, code: Option<&str>, answer: &[u8]) -> Vec<Error> {
    use azure_core::error::check_success;
    use azure_core::http::AsyncRawResponse;
    use azure_core::http::headers::{HeaderName, HeaderValue, Headers};

    let endpoint: azure_core::http::Url =
        "https://acme.blob.core.windows.net".parse().expect("a URL");
    let target = Target {
        account: "acme".to_owned(),
        container: "files".to_owned(),
        endpoint: endpoint.clone(),
        public_endpoint: endpoint,
        credential: CredentialKind::ClientSecret,
        account_key: None,
    };
    let mut headers = Headers::new();
    if let Some(code) = code {
        let value = HeaderValue::from(code.to_owned());
        headers.insert(HeaderName::from("x-ms-error-code"), value);
    }
    let response = AsyncRawResponse::from_bytes(status.into(), headers, answer.to_vec());
    let outcome = futures::FutureExt::now_or_never(check_success(response, None));
    let mut words = Vec::new();
    if let Err(error) = outcome.expect("the answer is at hand") {
        words.push(service_error(error, &target, None));
    }
    let message = String::from_utf8_lossy(answer).into_owned();
    let refused = azure_core::Error::with_message(AzureErrorKind::Credential, message);
    words.push(credential_error(&refused, CredentialKind::ClientSecret));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    fn with_detail(detail: &str) -> String {
        format!("<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>")
    }

    #[test]
    fn each_refusal_is_told_as_what_it_is() {
        use ErrorKind::{
            Archived, Conflict, ContainerNotFound, CustomerKey, Internal, NotFound,
            PreconditionFailed, Retained, UpstreamRefused,
        };
        for (status, code, kind, said) in [
            (404, "BlobNotFound", NotFound, ""),
            (404, "PathNotFound", NotFound, ""),
            (
                404,
                "",
                UpstreamRefused,
                "not how a store reports a missing object",
            ),
            (
                404,
                "ContainerNotFound",
                ContainerNotFound,
                "\"files\" not found",
            ),
            (409, "ContainerBeingDeleted", ContainerNotFound, ""),
            (409, "BlobAlreadyExists", Conflict, ""),
            (409, "BlobArchived", Archived, "archive tier"),
            (409, "BlobBeingRehydrated", Archived, "archive tier"),
            (
                409,
                "BlobUsesCustomerSpecifiedEncryption",
                CustomerKey,
                "customer-provided key",
            ),
            (
                409,
                "BlobImmutableDueToPolicy",
                Retained,
                "a retention policy",
            ),
            (409, "BlobImmutableDueToLegalHold", Retained, "a legal hold"),
            (409, "ScopeLocked", Retained, "a lock"),
            (409, "PendingCopyOperation", Retained, "a copy"),
            (409, "LeaseIdMismatchWithBlobOperation", Retained, "lease"),
            (412, "LeaseIdMissing", Retained, "lease"),
            (412, "LeaseLost", Retained, "lease"),
            (412, "LeaseNotPresentWithBlobOperation", Retained, "lease"),
            (
                412,
                "ConditionNotMet",
                PreconditionFailed,
                "changed meanwhile",
            ),
            (
                409,
                "PublicAccessNotPermitted",
                UpstreamRefused,
                "without its credential",
            ),
            (
                403,
                "NetworkSecurityPerimeterAccessDenied",
                UpstreamRefused,
                "perimeter",
            ),
            (403, "AccountIsDisabled", UpstreamRefused, "is disabled"),
            (409, "SomethingElse", Internal, "SomethingElse"),
        ] {
            let error = &words_for(status, Some(code), b"")[0];
            assert_eq!(error.kind(), kind, "{status} {code}: {error}");
            assert!(error.detail().contains(said), "{status} {code}: {error}");
            // None of these is mended by a look at the clock or the connection string.
            assert!(!error.detail().contains("the clock"), "{error}");
            for hidden in ["acme", "storage.azure"] {
                assert!(!error.public_detail().contains(hidden), "{error}");
            }
        }
    }

    #[test]
    fn what_the_service_says_fits_a_line_and_shows_no_signature() {
        let plain = &words_for(
            403,
            Some("AuthenticationFailed"),
            with_detail("Issuer is wrong.\nMore").as_bytes(),
        )[0];
        assert!(
            plain
                .detail()
                .contains("(AuthenticationFailed, Issuer is wrong.)"),
            "{plain}"
        );
        for (code, detail) in [
            ("X", "a\0b\u{1b}[2Jc"),
            ("X", "the URL was ?s\0ig=abc"),
            ("X", &"y".repeat(100_000)),
            ("X?sig=abc", ""),
            (&"z".repeat(8_000), ""),
        ] {
            for error in words_for(403, Some(code), with_detail(detail).as_bytes()) {
                let said = error.detail();
                assert!(!said.chars().any(char::is_control), "{said:?}");
                assert!(!said.contains("sig="), "{said}");
                assert!(said.len() < 1000, "{} bytes", said.len());
            }
        }
    }
}
