//! What a caller may not see is, for that caller, not there.

use attache::access::Scope;
use attache::attachment::AttachmentId;
use attache::catalog::partial::Upload;
use attache::{Error, ErrorKind, Result};

use crate::auth::Caller;
use crate::state::App;

/// The id that a path names.
///
/// # Errors
///
/// [`ErrorKind::NotFound`]: an id that cannot exist is reported as not found.
pub(super) fn known(id: &str) -> Result<AttachmentId> {
    id.parse().map_err(|_| Error::not_found("…"))
}

/// Whether this caller may delete what has this id. For one with every right nothing is looked up: it may finish a
/// deletion that failed halfway, too.
pub(super) async fn may_delete(app: &App, caller: &Caller, id: &AttachmentId) -> Result<bool> {
    if caller.owners.are_all() {
        return Ok(true);
    }
    match caller.visible(app.attache.find(id).await) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The upload that a path names, if it is this caller's: of an owner that the caller may write, or begun by itself.
pub(super) async fn own(app: &App, caller: &Caller, id: &str) -> Result<Upload> {
    let id: AttachmentId = known(id)?;
    let upload = app.attache.find_upload(&id).await?;
    let its = caller.sees(upload.owner.as_ref())
        && (upload.owner.is_some()
            || *upload.caller == *caller.name
            || caller.scopes.contain(Scope::Admin));
    match its {
        true => Ok(upload),
        false => Err(Error::not_found(id.as_str())),
    }
}
