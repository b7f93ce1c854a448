// tus 1.0 (https://tus.io/protocols/resumable-upload): a file in pieces, which goes on where the server says that it is.

import { ApiError, problem, unreachable } from "./api.js";

/** Bytes of a request, at most. A web server in front that lets less through gets less, down to the second figure. */
const PIECE = 16 * 1024 * 1024;
const SMALLEST_PIECE = 256 * 1024;

/** Seconds before each try that follows one without progress. After the last one it is for somebody to decide. */
const WAITS = [0, 1, 3, 5, 10, 20, 30];

/** A server may ask for more patience than that, up to so many seconds. */
const LONGEST_WAIT = 60;

/** A network that went away says nothing: so long may no byte move, and so long may the answer to the last one take. */
const STALLED_MS = 60_000;
const SILENT_MS = 300_000;

/**
 * The upload of one file.
 *
 * `onCreated(id)` runs when the server knows it, and again if it had to begin anew; `onGone()` when it is given up;
 * `onProgress(bytes)` as bytes go; `onTrouble(error)` before it tries again.
 */
export class Upload {
  #file;
  #metadata;
  #on;
  #request = null;
  #wake = () => {};
  // Goes up with each beginning and each end, so that what was stopped knows it.
  #turn = 0;
  #last = Promise.resolve();
  #tries = 0;
  #renewed = false;
  #piece = PIECE;

  /** `metadata` is by name; of an upload that was begun before, `id`, and the file may come later. */
  constructor({ file = null, metadata = {}, id = null, onCreated, onGone, onProgress, onTrouble }) {
    this.#file = file;
    this.#metadata = metadata;
    this.#on = { created: onCreated, gone: onGone, progress: onProgress, trouble: onTrouble };
    this.id = id;
    this.offset = 0;
    this.expires = null;
    this.complete = false;
  }

  set file(file) {
    this.#file = file;
  }

  /**
   * Sends what is missing. Resolves with the id when the attachment is there, and with `null` if it was stopped; rejects with
   * the server's refusal, or with what kept it from going on (`passes(error)`).
   */
  run() {
    const turn = ++this.#turn;
    const going = this.#last.then(() => this.#go(turn));
    this.#last = going.catch(() => {});
    return going;
  }

  /** Stops sending; what has arrived stays. A creation is not cut off: nobody would know where it is. */
  stop() {
    this.#turn += 1;
    if (this.id !== null) this.#request?.abort();
    this.#wake();
  }

  /** Stops, and has the server remove what it has. What cannot be removed now expires. */
  async discard() {
    this.stop();
    await this.#last;
    const path = this.id !== null && !this.complete ? this.#path : null;
    this.id = null;
    this.offset = 0;
    this.#on.gone?.();
    if (path === null) return;
    for (const wait of WAITS.slice(0, 4)) {
      await new Promise((go) => setTimeout(go, wait * 1000));
      try {
        await this.#send("DELETE", path);
        return;
      } catch (error) {
        if (!passes(error)) return;
      }
    }
  }

  /** Asks how far it is. */
  async look() {
    const answer = await this.#send("HEAD", this.#path);
    this.#at(answer);
  }

  async #go(turn) {
    const stopped = () => turn !== this.#turn;
    this.#tries = 0;
    let known = false;
    while (!stopped()) {
      try {
        if (this.id === null) await this.#create();
        else if (!known) await this.look();
        known = true;
        while (!this.complete && !stopped()) await this.#bring();
        if (this.complete) return this.id;
      } catch (error) {
        if (stopped()) break;
        known = false;
        if (error.status === 404 && this.id !== null && !this.#renewed) {
          this.#renewed = true;
          this.id = null;
          this.offset = 0;
          continue;
        }
        if (error.status === 413 && error.code === "internal" && this.#piece > SMALLEST_PIECE) {
          // Not in attache's words: it never saw the request.
          this.#piece /= 4;
          continue;
        }
        if (!passes(error) || this.#tries === WAITS.length) throw error;
        await this.#read();
        const asked = Math.min(Number(error.retryAfter) || 0, LONGEST_WAIT);
        const wait = Math.max(WAITS[this.#tries], asked);
        this.#tries += 1;
        if (wait > 0) {
          this.#on.trouble?.(error);
          await this.#sleep(wait);
        }
      }
    }
    return null;
  }

  async #create() {
    const { size } = this.#file;
    const told = Object.entries(this.#metadata).filter(([, value]) => value);
    const answer = await this.#send("POST", "/v1/uploads", {
      // An empty file would be complete at once, and twice if this answer is lost. So its end is said by the piece.
      ...(size > 0 ? { "upload-length": size } : { "upload-defer-length": 1 }),
      "upload-metadata": told.map(([name, value]) => `${name} ${base64(value)}`).join(","),
    });
    // The URL names the server as others know it; where we are, it is the same one.
    this.id = new URL(answer.getResponseHeader("location"), location.href).pathname.split("/").pop();
    this.#at(answer);
    this.#on.created?.(this.id);
  }

  async #bring() {
    const { size } = this.#file;
    const from = this.offset;
    const piece = this.#file.slice(from, from + this.#piece);
    const headers = { "upload-offset": from, "content-type": "application/offset+octet-stream" };
    if (size === 0) headers["upload-length"] = 0;
    const answer = await this.#send("PATCH", this.#path, headers, piece);
    this.#at(answer);
    if (!this.complete && this.offset === from) throw unreachable();
  }

  /** A browser says of a file that was changed or removed what it says of a network that is gone. */
  async #read() {
    try {
      await this.#file.slice(0, 1).arrayBuffer();
    } catch {
      throw new ApiError("This file cannot be read any more; it was changed, moved or removed.", { code: "bad_request", status: 400 });
    }
  }

  #at(answer) {
    const offset = Number(answer.getResponseHeader("upload-offset"));
    if (offset > this.offset) this.#tries = 0;
    this.offset = offset;
    this.expires = answer.getResponseHeader("upload-expires");
    // Only what is an attachment has one.
    this.complete = answer.getResponseHeader("content-location") !== null;
    this.#on.progress?.(offset);
  }

  get #path() {
    return `/v1/uploads/${encodeURIComponent(this.id)}`;
  }

  #sleep(seconds) {
    return new Promise((go) => {
      const timer = setTimeout(go, seconds * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        go();
      };
    });
  }

  #send(method, path, headers = {}, body = null) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open(method, path);
      request.setRequestHeader("tus-resumable", "1.0.0");
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      let timer;
      const within = (limit) => {
        clearTimeout(timer);
        timer = setTimeout(() => request.abort(), limit);
      };
      // Listeners of the upload make a request of another kind where the server is elsewhere; here it never is.
      request.upload.addEventListener("progress", (event) => {
        within(STALLED_MS);
        this.#on.progress?.(this.offset + event.loaded);
      });
      request.upload.addEventListener("load", () => within(SILENT_MS));
      request.addEventListener("error", () => reject(unreachable()));
      request.addEventListener("abort", () => reject(unreachable()));
      request.addEventListener("load", () => {
        const { status, responseText } = request;
        if (status >= 200 && status <= 299) resolve(request);
        else reject(problem(status, responseText, { get: (name) => request.getResponseHeader(name) }));
      });
      request.addEventListener("loadend", () => {
        clearTimeout(timer);
        if (this.#request === request) this.#request = null;
      });
      within(STALLED_MS);
      request.send(body);
    });
  }
}

/** Whether the same request may succeed a moment later. A full disk does not empty itself. */
export function passes({ status }) {
  return status === 0 || [408, 409, 423, 429].includes(status) || (status >= 500 && status !== 507);
}

function base64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}
