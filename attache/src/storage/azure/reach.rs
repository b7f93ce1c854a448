//! Why a host cannot be reached, and what to do about it: the causes below an error, and hints to put behind a message.

use azure_core::error::ErrorKind as AzureErrorKind;

use crate::http::connection::ProxyFailed;

/// What is known of why a host cannot be reached, to be put behind a message.
pub(super) fn reach_hint(error: &azure_core::Error) -> String {
    match proxy_hint(error) {
        Some(hint) => format!(", {hint}"),
        None => tls_hint(error).to_owned(),
    }
}

/// What to do about a proxy through which there is no way.
pub(super) fn proxy_hint(error: &azure_core::Error) -> Option<String> {
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
pub(super) fn tls_hint(error: &azure_core::Error) -> &'static str {
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
pub(super) fn find_tls(error: &azure_core::Error) -> Option<&rustls::Error> {
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

/// The refusal among the causes.
pub(super) fn find_response(error: &azure_core::Error) -> Option<&azure_core::Error> {
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

pub(super) fn http_status(error: &azure_core::Error) -> Option<u16> {
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

pub(super) fn find_azure(error: &azure_core::Error) -> Option<&AzureErrorKind> {
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

pub(super) fn find<'a, T: std::error::Error + 'static>(
    error: &'a azure_core::Error,
) -> Option<&'a T> {
    let mut cause: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

pub(super) fn timed_out(error: &azure_core::Error) -> bool {
    find::<std::io::Error>(error).is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}
