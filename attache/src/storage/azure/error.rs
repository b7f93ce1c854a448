//! What the blob service says, in the words of our errors: what was tried, on what, and what to change.

use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;

use super::config::{CA_FILE, CredentialKind, Target};
use super::reach::timed_out;
use super::refusal::{ABSENT, NO_ACCOUNT, keeper, patience};
use crate::error::{Error, ErrorKind};
use crate::http::reach::{find, proxy_hint, tls_hint};

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
                            tls_hint(&error, CA_FILE)
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
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

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
