//! What Entra ID says, in the words of our errors.

use std::error::Error as _;

use azure_core::error::ErrorKind as AzureErrorKind;

use super::config::{CA_FILE, CredentialKind};
use super::error::RETRY_AFTER;
use super::reach::{find_azure, find_response, http_status};
use super::refusal::patience;
use crate::error::{Error, ErrorKind};
use crate::http::NoAnswer;
use crate::http::reach::{find, proxy_hint, tls_hint};

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
    ) || find::<NoAnswer>(error).is_some();
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
                    tls_hint(error, CA_FILE)
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
    let target = super::config::Target {
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
        words.push(super::error::service_error(error, &target, None));
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
