//! Why a host cannot be reached, and what to do about it: the causes below an error, and hints to put behind a message.

use std::error::Error;

use super::connection::ProxyFailed;

/// What is known of why a host cannot be reached, to be put behind a message. `ca_key` is the setting for an extra root certificate.
pub(crate) fn hint(error: &(dyn Error + 'static), ca_key: &str) -> String {
    match proxy_hint(error) {
        Some(hint) => format!(", {hint}"),
        None => tls_hint(error, ca_key),
    }
}

/// What to do about a proxy through which there is no way.
pub(crate) fn proxy_hint(error: &(dyn Error + 'static)) -> Option<String> {
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
pub(crate) fn tls_hint(error: &(dyn Error + 'static), ca_key: &str) -> String {
    use rustls::CertificateError as Certificate;
    let hint = match find_tls(error) {
        Some(rustls::Error::InvalidCertificate(refused)) => match refused {
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet by this machine's clock: set the clock, NTP"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired by this machine's clock: check the clock, then the certificate"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another name: check the host"
            }
            _ => return format!(" (its certificate is not trusted: set {ca_key})"),
        },
        _ => return String::new(),
    };
    format!(" ({hint})")
}

/// The error of TLS among the causes. An error of a connection holds it, but does not call it its cause.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
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

/// The error of one type among the causes.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
