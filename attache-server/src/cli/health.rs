//! `attache health`: whether a server answers, for containers and scripts that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use http::{Request, StatusCode, Uri};

use super::out::{note, print};
use super::outcome::{CommandError, Exit, Outcome};
use crate::client::{Client, NoAnswer};
use crate::config::Settings;

/// Check whether a running server is alive. Exit code 0: it is. 1: it is not.
///
/// Asks /healthz, or /readyz with --ready. Needs no token. The certificate of a loopback address is not checked, because it is
/// made for the name by which clients know the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache health
  attache health --ready --url https://files.example.org")]
pub(super) struct Health {
    /// Where it listens; by default, what server.listen and server.tls say.
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Also check whether storage and catalog can be used.
    #[arg(long)]
    ready: bool,

    /// How long to wait for the response.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Longest answer that is read: a problem in JSON.
const LONGEST: usize = 64 * 1024;

impl Health {
    pub(super) async fn run(self, file: Option<&Path>) -> Outcome {
        let base = match self.url {
            Some(url) => url,
            None => configured(file),
        };
        let path = if self.ready { "readyz" } else { "healthz" };
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let parsed: Result<Uri, _> = url.parse();
        let uri = parsed
            .ok()
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
            .ok_or_else(|| {
                CommandError::Usage(format!(
                    "{base} is not a URL such as \"http://127.0.0.1:8080\""
                ))
            })?;
        let client = match is_loopback(&uri) {
            true => Client::believing_any_certificate()?,
            false => Client::new()?,
        };
        let request = Request::get(uri);
        let answer = match client.send(request, self.timeout, LONGEST).await {
            Ok(answer) => answer,
            Err(why) => {
                note(format_args!("{url}: {}", explained(&why)));
                return Ok(Exit::Failed);
            }
        };
        if answer.status() == StatusCode::OK {
            print("ok\n")?;
            return Ok(Exit::Done);
        }
        let problem: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
        let code = problem.as_ref().and_then(|told| told["code"].as_str());
        // Full is alive: a restart would only end what everybody waits for.
        if !self.ready && answer.status() == StatusCode::SERVICE_UNAVAILABLE && code == Some("busy")
        {
            print("ok\n")?;
            note(format_args!(
                "{url}: it is alive, but full: limits.connections is reached"
            ));
            return Ok(Exit::Done);
        }
        let detail = problem.as_ref().and_then(|told| told["detail"].as_str());
        note(format_args!(
            "{url}: {}: {}",
            answer.status(),
            detail.unwrap_or("no reason given")
        ));
        Ok(Exit::Failed)
    }
}

/// The client says "cannot connect"; what happened is the last of its causes.
fn explained(why: &NoAnswer) -> String {
    let NoAnswer::Failed(error) = why else {
        return why.to_string();
    };
    let mut cause: &dyn std::error::Error = &**error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Where the configuration lets the server listen. A file with faults says nothing about a server that started before them,
/// so what the environment and the defaults say is tried then; who may do what is of no interest here.
fn configured(file: Option<&Path>) -> String {
    let config = Settings::load(file, &[])
        .or_else(|_| Settings::load(None, &[("auth.mode", "token".to_owned())]))
        .unwrap_or_default();
    let scheme = match config.server.tls.certificate_file {
        Some(_) => "https",
        None => "http",
    };
    format!("{scheme}://{}", reachable(config.server.listen))
}

/// An address to connect to: "all addresses" is none.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }

    #[test]
    fn only_this_machine_is_believed_without_a_certificate() {
        for (url, loopback) in [
            ("https://127.0.0.1:8443/healthz", true),
            ("https://[::1]/healthz", true),
            ("https://localhost/healthz", true),
            ("https://files.example.org/healthz", false),
            ("https://127.0.0.1.example.org/healthz", false),
            ("https://10.0.0.1/healthz", false),
        ] {
            assert_eq!(is_loopback(&url.parse().expect("a URL")), loopback, "{url}");
        }
    }
}
