//! Shared access signatures: of a user delegation key, and of the account key.

use std::net::Ipv4Addr;

use stand_in::answer::Fail;
use stand_in::wire::{base64_encode, header, hmac_sha256, parse_iso};
use time::OffsetDateTime;

use crate::auth::authentication_failed;
use crate::blob::Call;
use crate::core::{Core, KeyFields};

/// Checks signature first, then everything it covers, as the service does: who changed the text
/// learns that the signature is wrong, and not what it would have allowed.
pub(crate) fn authorise(core: &Core, call: &Call) -> Result<(), Fail> {
    let q = |name: &str| call.query.or_empty(name);
    let version = q("sv");
    if version < OLDEST_VERSION {
        return Err(authentication_failed(format!(
            "sv is missing or older than {OLDEST_VERSION}."
        )));
    }
    let delegated = call.query.value("skoid").is_some();
    let (text, key) = if delegated {
        let fields = KeyFields {
            oid: q("skoid"),
            tid: q("sktid"),
            start: q("skt"),
            expiry: q("ske"),
            service: q("sks"),
            version: q("skv"),
        };
        (
            delegated_text(core, call, &fields)?,
            core.delegation_key(&fields),
        )
    } else {
        (account_text(core, call)?, core.account_key.clone())
    };
    if q("sig") != base64_encode(hmac_sha256(&key, &text)) {
        return Err(authentication_failed(format!(
            "Signature did not match. String to sign used was {text}"
        )));
    }
    check_times(core, call, delegated)?;
    check_scope(call)?;
    core.tally.note(|c| c.sas_requests += 1);
    Ok(())
}

fn check_times(core: &Core, call: &Call, delegated: bool) -> Result<(), Fail> {
    let now = core.scene.now();
    let time_of = |name: &str| -> Result<Option<OffsetDateTime>, Fail> {
        match call.query.value(name) {
            None | Some("") => Ok(None),
            Some(text) => parse_iso(text)
                .map(Some)
                .ok_or_else(|| authentication_failed(format!("{name} is not a time: {text}"))),
        }
    };
    let expiry = time_of("se")?.ok_or_else(|| authentication_failed("se is missing."))?;
    let start = time_of("st")?.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if now < start || now >= expiry {
        return Err(authentication_failed(format!(
            "Signature not valid in the specified time frame: Start [{start}] - Expiry [{expiry}] - Current [{now}]"
        )));
    }
    if delegated {
        let key_start = time_of("skt")?.ok_or_else(|| authentication_failed("skt is missing."))?;
        let key_expiry = time_of("ske")?.ok_or_else(|| authentication_failed("ske is missing."))?;
        if key_expiry - key_start > time::Duration::days(7) {
            return Err(authentication_failed("The key lives longer than 7 days."));
        }
        if now < key_start || now >= key_expiry || expiry > key_expiry {
            return Err(authentication_failed(format!(
                "Signature not valid in the specified key time frame: Key start [{key_start}] - Key expiry [{key_expiry}] - Current [{now}] - Expiry [{expiry}]"
            )));
        }
    }
    Ok(())
}

fn check_scope(call: &Call) -> Result<(), Fail> {
    let q = |name: &str| call.query.or_empty(name);
    let forbidden = |code: &str, message: &str| Err(Fail::new(403, code, message));
    match q("spr") {
        "" | "https,http" | "http,https" => {}
        "https" if call.secure => {}
        "https" => {
            return forbidden(
                "AuthorizationProtocolMismatch",
                "This request is not authorized to perform this operation using this protocol.",
            );
        }
        other => return Err(authentication_failed(format!("spr is not valid: {other}"))),
    }
    if !q("sip").is_empty() && !address_allowed(q("sip"), call.peer) {
        return forbidden(
            "AuthorizationSourceIPMismatch",
            "This request is not authorized to perform this operation using this source IP.",
        );
    }
    if q("sr") == "b" && call.query.value("snapshot").is_some() {
        return forbidden(
            "AuthorizationResourceTypeMismatch",
            "This request is not authorized to perform this operation using this resource type.",
        );
    }
    if !q("sp").contains(|letter| call.op.sas_letters().contains(letter)) {
        return forbidden(
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        );
    }
    Ok(())
}

/// Whether a signature allows to create, and not to replace
/// (<https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas#specify-permissions>).
pub(crate) fn creates_only(call: &Call) -> bool {
    let permissions = call.query.or_empty("sp");
    call.query.value("sig").is_some() && permissions.contains('c') && !permissions.contains('w')
}

fn address_allowed(range: &str, peer: std::net::IpAddr) -> bool {
    let std::net::IpAddr::V4(peer) = peer else {
        return false;
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&peer),
        _ => false,
    }
}

/// `/blob/account/container/name`, with the name decoded.
fn resource(core: &Core, call: &Call) -> Result<String, Fail> {
    let container = call
        .container
        .as_deref()
        .ok_or_else(|| authentication_failed("A signature names a container or a blob."))?;
    let base = format!("/blob/{}/{container}", core.account);
    match (call.query.or_empty("sr"), call.blob.as_deref()) {
        ("c", _) => Ok(base),
        ("b" | "bs", Some(blob)) => Ok(format!("{base}/{}", blob.replace('\\', "/"))),
        (sr, _) => Err(authentication_failed(format!(
            "sr={sr} does not fit the resource asked for."
        ))),
    }
}

/// The string of a user delegation key, whose length grew with the versions:
/// <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>.
fn delegated_text(core: &Core, call: &Call, key: &KeyFields<'_>) -> Result<String, Fail> {
    let q = |name: &str| call.query.or_empty(name);
    let version = q("sv");
    let resource = resource(core, call)?;
    let mut lines = vec![q("sp"), q("st"), q("se"), &resource];
    lines.extend([
        key.oid,
        key.tid,
        key.start,
        key.expiry,
        key.service,
        key.version,
    ]);
    lines.extend([q("saoid"), q("suoid"), q("scid")]);
    if version >= DELEGATED_USER_VERSION {
        lines.extend([q("skdutid"), q("sduoid")]);
    }
    lines.extend([
        q("sip"),
        q("spr"),
        version,
        q("sr"),
        q("snapshot"),
        q("ses"),
    ]);
    let headers = signed_headers(call);
    let parameters = signed_parameters(call);
    if version >= SIGNED_REQUEST_VERSION {
        lines.extend([headers.as_str(), parameters.as_str()]);
    }
    lines.extend([q("rscc"), q("rscd"), q("rsce"), q("rscl"), q("rsct")]);
    Ok(lines.join("\n"))
}

/// The string of a service signature:
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>.
fn account_text(core: &Core, call: &Call) -> Result<String, Fail> {
    let q = |name: &str| call.query.or_empty(name);
    let resource = resource(core, call)?;
    let lines = [
        q("sp"),
        q("st"),
        q("se"),
        &resource,
        q("si"),
        q("sip"),
        q("spr"),
        q("sv"),
        q("sr"),
        q("snapshot"),
        q("ses"),
        q("rscc"),
        q("rscd"),
        q("rsce"),
        q("rscl"),
        q("rsct"),
    ];
    Ok(lines.join("\n"))
}

/// `name:value\n` for each header that `srh` lists, with the value of this request.
fn signed_headers(call: &Call) -> String {
    listed(call.query.or_empty("srh"))
        .map(|name| {
            let value = header(&call.headers, name).unwrap_or_default();
            format!("{name}:{value}\n")
        })
        .collect()
}

/// `\nname:value` for each parameter that `srq` lists, with the value of this request.
fn signed_parameters(call: &Call) -> String {
    listed(call.query.or_empty("srq"))
        .map(|name| format!("\n{name}:{}", call.query.or_empty(name)))
        .collect()
}

fn listed(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').filter(|name| !name.is_empty())
}

/// The first version whose string has the encryption scope; older ones nobody signs any more.
const OLDEST_VERSION: &str = "2020-12-06";

/// The first version with `skdutid` and `sduoid`.
const DELEGATED_USER_VERSION: &str = "2025-07-05";

/// The first version with `srh` and `srq`.
const SIGNED_REQUEST_VERSION: &str = "2026-04-06";
