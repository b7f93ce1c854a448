//! Who asks, and whether that is proven.

use stand_in::answer::Fail;
use stand_in::wire::Query;

use crate::core::Core;
use crate::google;
use crate::respond::access_denied;
use crate::service::Call;
use crate::signature::{self, Head, Payload, Signer};

/// Checks whatever proof the call brings, and says what it proves of the body.
pub(crate) fn authorise(core: &Core, call: &Call) -> Result<Payload, Fail> {
    let authorised = by_kind(core, call);
    if authorised.is_err() {
        core.tally.note(|c| c.refused += 1);
    }
    authorised
}

fn by_kind(core: &Core, call: &Call) -> Result<Payload, Fail> {
    let head = Head {
        method: call.method.as_str(),
        raw_path: &call.raw_path,
        raw_query: &call.raw_query,
        headers: &call.headers,
    };
    let in_header = call.headers.contains_key("authorization");
    let in_query = is_presigned(&call.query);
    if core.is_google() {
        return match (in_header, in_query) {
            (true, false) => google::check_bearer(core, call),
            (false, true) => google::check_query(core, head),
            _ => Err(access_denied()),
        };
    }
    let signer = Signer {
        access_key_id: &core.access_key_id,
        secret_access_key: &core.secret_access_key,
        region: &core.region,
        now: core.scene.now(),
    };
    match (in_header, in_query) {
        (true, true) => Err(Fail::new(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        )),
        (true, false) => {
            let payload = signature::check_header(head, signer)?;
            core.tally.note(|c| c.signed_requests += 1);
            Ok(payload)
        }
        (false, true) => {
            let payload = signature::check_query(head, signer)?;
            core.tally.note(|c| c.presigned_requests += 1);
            Ok(payload)
        }
        (false, false) => Err(access_denied()),
    }
}

fn is_presigned(query: &Query) -> bool {
    ["X-Amz-Signature", "X-Goog-Signature"]
        .iter()
        .any(|name| query.value(name).is_some())
}
