//! Containers, and what is asked of the account itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop, set, status, xml_document};
use stand_in::wire::{base64_encode, http_date, iso_seconds, parse_iso};
use stand_in::xml;

use crate::blob::{Call, container_not_found, guards, props, receive};
use crate::core::{Core, KeyFields};
use crate::state::{Container, Store};

/// Makes an empty container; `None` if the name is taken.
pub(crate) fn insert(
    core: &Core,
    store: &mut Store,
    name: &str,
    metadata: BTreeMap<String, String>,
) -> Option<String> {
    if store.containers.contains_key(name) {
        return None;
    }
    let etag = store.next_etag();
    let container = Container {
        etag: etag.clone(),
        modified: core.scene.now(),
        metadata,
        guard: None,
        entries: BTreeMap::new(),
    };
    store.containers.insert(name.to_owned(), container);
    Some(etag)
}

pub(crate) fn create(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let name = call.container();
    let fits = (3..=63).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !fits {
        return Err(Fail::new(
            400,
            "InvalidResourceName",
            "The specified resource name contains invalid characters.",
        ));
    }
    let metadata = props::metadata_of(call)?;
    let etag = core
        .store(|store| insert(core, store, name, metadata))
        .ok_or_else(|| {
            Fail::new(
                409,
                "ContainerAlreadyExists",
                "The specified container already exists.",
            )
        })?;
    let mut answer = status(StatusCode::CREATED);
    set(&mut answer, "etag", &etag);
    set(&mut answer, "last-modified", &http_date(core.scene.now()));
    Ok(answer)
}

pub(crate) fn properties(core: &Core, call: &Call) -> Result<Answer, Fail> {
    core.store(|store| {
        let container = store
            .containers
            .get(call.container())
            .ok_or_else(container_not_found)?;
        let mut answer = status(StatusCode::OK);
        set(&mut answer, "etag", &container.etag);
        set(&mut answer, "last-modified", &http_date(container.modified));
        set(&mut answer, "x-ms-lease-status", "unlocked");
        set(&mut answer, "x-ms-lease-state", "available");
        for (name, on) in guards::of_container(container) {
            set(&mut answer, name, if on { "true" } else { "false" });
        }
        for (name, value) in &container.metadata {
            set(&mut answer, &format!("x-ms-meta-{name}"), value);
        }
        Ok(answer)
    })
}

pub(crate) fn delete(core: &Core, call: &Call) -> Result<Answer, Fail> {
    core.store(|store| store.containers.remove(call.container()))
        .map(|_| status(StatusCode::ACCEPTED))
        .ok_or_else(container_not_found)
}

/// <https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>
pub(crate) async fn user_delegation_key(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Answer, Stop> {
    core.tally.note(|c| c.delegation_key_requests += 1);
    if !call
        .header("authorization")
        .is_some_and(|value| value.starts_with("Bearer "))
    {
        return Err(Fail::new(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request.",
        )
        .detail("Only authentication scheme Bearer is supported.")
        .into());
    }
    let (document, _) = receive::document(core, call, body).await?;
    let leaves = xml::leaves(&document);
    let time_of = |name: &str| {
        let text = leaves.iter().find(|(leaf, _)| leaf == name);
        text.and_then(|(_, text)| parse_iso(text))
    };
    let now = core.scene.now();
    let invalid = |why: &str| {
        Fail::new(
            400,
            "InvalidXmlNodeValue",
            &format!("The value for one of the XML nodes is not in the correct format. {why}"),
        )
    };
    let start = time_of("Start").unwrap_or(now);
    let asked = time_of("Expiry").ok_or_else(|| invalid("Expiry is missing or not a time."))?;
    let week = time::Duration::days(7);
    if asked <= start || asked <= now || asked - start > week || asked > now + week {
        return Err(invalid("Expiry must be within 7 days from now, and after Start.").into());
    }
    let longest = core.scene.faults(|f| f.delegation_key_lifetime);
    let expiry = asked.min(now + longest);
    let (start, expiry) = (iso_seconds(start), iso_seconds(expiry));
    let fields = KeyFields {
        oid: &core.object_id,
        tid: &core.tenant_id,
        start: &start,
        expiry: &expiry,
        service: "b",
        version: call.header("x-ms-version").unwrap_or("2026-04-06"),
    };
    let value = base64_encode(core.delegation_key(&fields));
    Ok(xml_document(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>{}{}{}{}{}{}{}</UserDelegationKey>",
        xml::element("SignedOid", fields.oid),
        xml::element("SignedTid", fields.tid),
        xml::element("SignedStart", fields.start),
        xml::element("SignedExpiry", fields.expiry),
        xml::element("SignedService", fields.service),
        xml::element("SignedVersion", fields.version),
        xml::element("Value", &value),
    )))
}

pub(crate) fn service_properties(core: &Core) -> Answer {
    let changed = core.store(|store| store.service_properties.clone());
    xml_document(changed.unwrap_or_else(|| {
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties>\
         <Cors /><DefaultServiceVersion>2026-04-06</DefaultServiceVersion>\
         <DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>\
         <StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>"
            .to_owned()
    }))
}

pub(crate) fn account_info() -> Answer {
    let mut answer = status(StatusCode::OK);
    set(&mut answer, "x-ms-sku-name", "Standard_LRS");
    set(&mut answer, "x-ms-account-kind", "StorageV2");
    set(&mut answer, "x-ms-is-hns-enabled", "false");
    answer
}
