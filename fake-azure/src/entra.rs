//! Entra ID: tokens for secrets and assertions, and the managed-identity endpoint of a machine.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use stand_in::answer::{Answer, Stop, json, set};
use stand_in::wire::{Query, header, iso_seconds};
use time::OffsetDateTime;

use crate::auth::token_claims;
use crate::core::{Core, DATABASE_AUDIENCE, STORAGE_AUDIENCE};
use crate::faults::Entra;
use crate::op::Op;

/// Answers one request; `Err` ends the connection.
pub(crate) async fn serve(core: Arc<Core>, request: Request<Incoming>) -> Result<Answer, Stop> {
    let path = request.uri().path().to_owned();
    let op = match (request.method(), path.as_str()) {
        (&Method::POST, path) if path.ends_with("/oauth2/v2.0/token") => Op::Token,
        (&Method::GET, "/metadata/identity/oauth2/token") => Op::ManagedIdentityToken,
        (&Method::GET, path) if path.ends_with("/.well-known/openid-configuration") => {
            Op::Discovery
        }
        _ => Op::Unknown,
    };
    core.tally.note(|c| {
        *c.operations.entry(op.name()).or_default() += 1;
        if matches!(op, Op::Token | Op::ManagedIdentityToken) {
            c.token_requests += 1;
        }
    });
    let fault = core.scene.admit(op).await;
    let mut answer = match (core.scene.faults(|f| f.entra), fault) {
        (Entra::Hang, _) => {
            core.scene.silence_over().await;
            return Err(Stop::Disconnect);
        }
        (Entra::Unavailable, _) => json(
            503,
            &json!({
                "error": "temporarily_unavailable",
                "error_description": "AADSTS90033: A transient error has occurred. Please try again.",
                "error_codes": [90033],
            }),
        ),
        (Entra::Up, Some((_, action))) => match core.scene.spoil(action).await {
            Err(Stop::Fail(fail)) => {
                let mut answer = json(
                    fail.status.as_u16(),
                    &json!({
                        "error": fail.code,
                        "error_description": fail.message,
                        "error_codes": [0],
                    }),
                );
                for (name, value) in fail.headers {
                    set(&mut answer, name, &value);
                }
                answer
            }
            other => other?,
        },
        (Entra::Up, None) => match op {
            Op::Token => token(&core, &path, request).await?,
            Op::ManagedIdentityToken => managed_identity(&core, &request),
            Op::Discovery => discovery(&core),
            _ => json(
                404,
                &json!({"error": "not_found", "error_description": "", "error_codes": [0]}),
            ),
        },
    };
    set(&mut answer, "cache-control", "no-store, no-cache");
    core.tally
        .note(|c| *c.answers.entry(answer.status().as_u16()).or_default() += 1);
    Ok(answer)
}

async fn token(core: &Arc<Core>, path: &str, request: Request<Incoming>) -> Result<Answer, Stop> {
    let body = Limited::new(request.into_body(), 64 * 1024)
        .collect()
        .await
        .map_err(|_| Stop::Disconnect)?
        .to_bytes();
    let form = Query::parse(&String::from_utf8_lossy(&body));
    Ok(match grant(core, path, &form) {
        Ok(()) => {
            let (token, _, expiry) = core.issue_token(STORAGE_AUDIENCE);
            let of_database = core.directory(|d| d.database_token.clone());
            let token = match of_database.filter(|_| audience(&form) == DATABASE_AUDIENCE) {
                Some(of_database) => of_database,
                None => token,
            };
            let seconds = (expiry - OffsetDateTime::now_utc()).whole_seconds() + 1;
            json(
                200,
                &json!({
                    "token_type": "Bearer",
                    "expires_in": seconds,
                    "ext_expires_in": seconds,
                    "access_token": token,
                }),
            )
        }
        Err(refusal) => refusal.into_answer(core),
    })
}

/// What a token is asked for.
fn audience(form: &Query) -> &str {
    let scope = form.or_empty("scope");
    scope.trim_end_matches("/.default").trim_end_matches('/')
}

/// Decides on a request for a token and notes which secret it came with.
fn grant(core: &Core, path: &str, form: &Query) -> Result<(), Refusal> {
    let tenant = path.trim_start_matches('/').split('/').next();
    if tenant != Some(core.tenant_id.as_str()) {
        return Err(Refusal::new(
            400,
            "invalid_request",
            90002,
            "Tenant not found. Check to make sure you have the correct tenant ID.",
        ));
    }
    if form.value("grant_type") != Some("client_credentials") {
        return Err(Refusal::new(
            400,
            "unsupported_grant_type",
            70003,
            "The app requested an unsupported grant type.",
        ));
    }
    let for_database = core.directory(|d| d.database_token.is_some());
    let known =
        audience(form) == STORAGE_AUDIENCE || for_database && audience(form) == DATABASE_AUDIENCE;
    if !known {
        return Err(Refusal::new(
            400,
            "invalid_scope",
            1002012,
            "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.",
        ));
    }
    if form.value("client_id") != Some(core.client_id.as_str()) {
        return Err(Refusal::new(
            400,
            "unauthorized_client",
            700016,
            "Application was not found in the directory.",
        ));
    }
    if let Some(assertion) = form.value("client_assertion") {
        core.tally.note(|c| c.assertions_presented += 1);
        return match token_claims(assertion) {
            Some(_) => Ok(()),
            None => Err(Refusal::new(
                401,
                "invalid_client",
                50027,
                "Invalid JWT token. Token format not valid.",
            )),
        };
    }
    let Some(secret) = form.value("client_secret") else {
        return Err(Refusal::new(
            401,
            "invalid_client",
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ));
    };
    let known = core.directory(|d| d.secrets.iter().position(|s| s == secret));
    let elapsed = core.tally.elapsed();
    let valid = core.tally.note(|counts| match known {
        Some(index) => {
            let used = &mut counts.secrets[index];
            used.presented += 1;
            used.last_presented_ms = u64::try_from(elapsed.as_millis()).ok();
            used.valid
        }
        None => {
            counts.unknown_secrets_presented += 1;
            false
        }
    });
    if valid {
        return Ok(());
    }
    Err(Refusal::new(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to the app.",
    ))
}

/// An error of Entra, in the form in which all its errors come.
struct Refusal {
    status: u16,
    error: &'static str,
    code: u32,
    message: &'static str,
}

impl Refusal {
    fn new(status: u16, error: &'static str, code: u32, message: &'static str) -> Self {
        Self {
            status,
            error,
            code,
            message,
        }
    }

    fn into_answer(self, core: &Core) -> Answer {
        let name = format!("AADSTS{}", self.code);
        core.tally
            .note(|c| *c.errors.entry(name.clone()).or_default() += 1);
        let trace = "00000000-0000-4000-8000-0000000fa4e1";
        let now = iso_seconds(OffsetDateTime::now_utc()).replace('T', " ");
        json(
            self.status,
            &json!({
                "error": self.error,
                "error_description": format!("{name}: {} Trace ID: {trace} Correlation ID: {trace} Timestamp: {now}", self.message),
                "error_codes": [self.code],
                "timestamp": now,
                "trace_id": trace,
                "correlation_id": trace,
                "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
            }),
        )
    }
}

/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
fn managed_identity(core: &Arc<Core>, request: &Request<Incoming>) -> Answer {
    if header(request.headers(), "metadata") != Some("true") {
        return json(
            400,
            &json!({"error": "bad_request_102", "error_description": "Required metadata header not specified"}),
        );
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if let Some(id) = query.value("client_id").filter(|id| *id != core.client_id) {
        return json(
            400,
            &json!({"error": "invalid_request", "error_description": format!("Identity not found: {id}")}),
        );
    }
    let resource = query.or_empty("resource");
    let (token, _, expiry) = core.issue_token(resource.trim_end_matches('/'));
    let seconds = (expiry - OffsetDateTime::now_utc()).whole_seconds() + 1;
    json(
        200,
        &json!({
            "access_token": token,
            "client_id": core.client_id,
            "expires_in": seconds.to_string(),
            "expires_on": expiry.unix_timestamp().to_string(),
            "not_before": OffsetDateTime::now_utc().unix_timestamp().to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

fn discovery(core: &Core) -> Answer {
    let host = core.authority_host.get().map_or("", String::as_str);
    let tenant = &core.tenant_id;
    json(
        200,
        &json!({
            "issuer": core.issuer(),
            "authorization_endpoint": format!("{host}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{host}/{tenant}/oauth2/v2.0/token"),
            "jwks_uri": format!("{host}/{tenant}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code", "id_token", "token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }),
    )
}
