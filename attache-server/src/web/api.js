// Every request the page makes, except those of an upload (tus.js), which need progress.

/** A refusal by the server, in its own words. */
export class ApiError extends Error {
  constructor(detail, { code = "internal", status = 0, retryAfter = null, requestId = null } = {}) {
    super(detail);
    this.name = "ApiError";
    Object.assign(this, { code, status, retryAfter, requestId });
  }
}

export const list = ({ owner, after, limit = 50 }) =>
  call("GET", "/v1/attachments", { query: { owner, limit, after } });

export const find = (id) => call("GET", attachmentPath(id));

export const remove = (id) => call("DELETE", attachmentPath(id));

export const temporaryUrl = (id) => call("POST", `${attachmentPath(id)}/url`, { body: {} });

export const limits = () => call("GET", "/v1/limits");

export const session = () => call("GET", "/v1/session");

export const signIn = (token) => call("POST", "/v1/session", { body: { token } });

export const signOut = () => call("DELETE", "/v1/session");

export const status = () => call("GET", "/v1/status");

export const history = (window) => call("GET", "/v1/status/history", { query: { window } });

/** `path?a=b` without the parameters that have no value. */
export function withQuery(path, query = {}) {
  const present = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(present).toString();
  return text ? `${path}?${text}` : path;
}

/** Turns a response that is not a success into an ApiError; `text` should hold problem+json (RFC 9457). */
export function problem(status, text, headers) {
  let told = {};
  try {
    told = JSON.parse(text) ?? {};
  } catch {
    // A proxy in between answers in its own words, usually HTML; those are not for the reader.
  }
  const detail = told.detail || told.title || BY_STATUS[status] || `The server responded with ${status}.`;
  return new ApiError(detail, {
    code: told.code,
    status,
    requestId: told.request_id,
    retryAfter: headers.get("retry-after"),
  });
}

export const unreachable = () =>
  new ApiError("The server could not be reached. Check the connection and try again.", { code: "unreachable" });

async function call(method, path, { query, body } = {}) {
  let response;
  let text;
  try {
    response = await fetch(withQuery(path, query), {
      method,
      headers: body ? { "content-type": "application/json" } : {},
      body: body && JSON.stringify(body),
      cache: "no-store",
    });
    text = await response.text();
  } catch {
    throw unreachable();
  }
  if (!response.ok) throw problem(response.status, text, response.headers);
  return text ? JSON.parse(text) : null;
}

const attachmentPath = (id) => `/v1/attachments/${encodeURIComponent(id)}`;

const BY_STATUS = {
  401: "You need to sign in to do this.",
  403: "You are not allowed to do this.",
  404: "This attachment is no longer there.",
  413: "This file is larger than the server accepts.",
  423: "The server is busy. Try again in a moment.",
  429: "Too many requests. Wait a moment and try again.",
  502: "The server is not reachable at the moment.",
  503: "The server is busy. Try again in a moment.",
  504: "The server took too long to respond.",
};
