//! Counts and faults for tests in other processes, over plain HTTP on loopback.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use stand_in::answer::{Answer, Stop, json as answer};

use crate::core::Core;
use crate::faults::Faults;

/// Answers one request: `GET /_counts`, `POST /_reset`, `GET` and `POST /_faults`,
/// `POST /_secrets`, `POST /_revoke`, `GET /_blobs`.
pub(crate) async fn serve(core: Arc<Core>, request: Request<Incoming>) -> Result<Answer, Stop> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), 1024 * 1024)
        .collect()
        .await
        .map_err(|_| Stop::Disconnect)?
        .to_bytes();
    let outcome = match (method, path.as_str()) {
        (Method::GET, "/_counts") => Ok(to_json(&crate::counts_of(&core))),
        (Method::POST, "/_reset") => {
            core.tally.reset(&core.scene.traffic);
            Ok(json!({}))
        }
        (Method::GET, "/_faults") => Ok(core.scene.faults(to_json)),
        (Method::POST, "/_faults") => change_faults(&core, &body),
        (Method::POST, "/_secrets") => change_secrets(&core, &body),
        (Method::POST, "/_revoke") => {
            crate::revoke_tokens(&core);
            Ok(json!({}))
        }
        (Method::GET, "/_blobs") => Ok(to_json(&crate::inventory::blobs_of(&core))),
        _ => return Ok(answer(404, &json!({"error": "no such thing"}))),
    };
    Ok(match outcome {
        Ok(value) => answer(200, &value),
        Err(why) => answer(400, &json!({"error": why})),
    })
}

/// Takes the fields that are given, leaves the others as they are; `{"clear": true}` resets all first.
fn change_faults(core: &Core, body: &[u8]) -> Result<Value, String> {
    let mut given: serde_json::Map<String, Value> =
        serde_json::from_slice(body).map_err(|e| e.to_string())?;
    core.scene.desk(|desk| {
        desk.change(|faults| {
            if given.remove("clear") == Some(Value::Bool(true)) {
                faults.clear();
            }
            let mut merged = to_json(faults);
            let fields = merged.as_object_mut().expect("faults are a JSON object");
            if let Some(unknown) = given.keys().find(|name| !fields.contains_key(*name)) {
                return Err(format!("unknown field `{unknown}`"));
            }
            fields.extend(given);
            *faults = serde_json::from_value::<Faults>(merged).map_err(|e| e.to_string())?;
            Ok(to_json(faults))
        })
    })
}

fn change_secrets(core: &Core, body: &[u8]) -> Result<Value, String> {
    let secrets: Vec<String> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    crate::set_secrets(core, secrets.iter().map(String::as_str));
    Ok(json!({}))
}

fn to_json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("plain data with text keys is JSON")
}
