// Uploads: two at a time, the rest wait. A retry carries the first try's Idempotency-Key, so it never makes a second
// attachment, even where the first answer was lost on its way back.

import { ApiError, problem, unreachable, withQuery } from "./api.js";
import { announce, byId, element, icon, iconButton } from "./dom.js";
import * as format from "./format.js";

const PARALLEL = 2;

/**
 * The queue and its rows.
 *
 * `onStored(attachment)` runs once per stored file; `refuse(file)` may say why a file need not even be sent.
 */
export class Uploads {
  #jobs = [];
  #onStored;
  #refuse;

  constructor({ onStored, refuse }) {
    this.#onStored = onStored;
    this.#refuse = refuse;
    byId("clear-uploads").addEventListener("click", () => {
      this.#jobs.filter((job) => job.over).forEach((job) => this.#dismiss(job));
      byId("file-input").focus();
    });
    addEventListener("beforeunload", (event) => {
      if (this.#jobs.some((job) => !job.over)) event.preventDefault();
    });
  }

  /** Queues files for `owner` (may be empty). */
  add(files, owner) {
    for (const file of files) {
      const job = new Job(file, owner, {
        cancel: () => this.#cancel(job),
        retry: () => this.#retry(job),
        dismiss: () => {
          this.#dismiss(job);
          byId("file-input").focus();
        },
      });
      this.#jobs.push(job);
      byId("upload-rows").append(job.row);
    }
    this.#advance();
  }

  #advance() {
    const free = PARALLEL - this.#jobs.filter((job) => job.state === "running").length;
    const waiting = this.#jobs.filter((job) => job.state === "waiting");
    waiting.slice(0, Math.max(0, free)).forEach((job) => this.#run(job));
    this.#show();
  }

  async #run(job) {
    const why = this.#refuse(job.file);
    if (why) job.fail(new ApiError(why, { code: "too_large" }));
    else {
      try {
        const attachment = await job.send();
        this.#dismiss(job);
        announce(`${job.name} was uploaded.`);
        this.#onStored(attachment, job.owner);
      } catch (error) {
        if (job.state === "running") {
          job.fail(error);
          announce(`${job.name} was not uploaded. ${error.message}`);
        }
      }
    }
    this.#advance();
  }

  #cancel(job) {
    job.cancel();
    announce(`Upload of ${job.name} cancelled.`);
    this.#advance();
  }

  #retry(job) {
    job.wait();
    this.#advance();
  }

  #dismiss(job) {
    this.#jobs = this.#jobs.filter((other) => other !== job);
    job.row.remove();
    this.#show();
  }

  #show() {
    const open = this.#jobs.filter((job) => !job.over).length;
    byId("uploads").hidden = this.#jobs.length === 0;
    byId("uploads-title").textContent = open > 0 ? `Uploading ${format.plural(open, "file")}` : "Not uploaded";
    byId("clear-uploads").hidden = this.#jobs.length === open;
  }
}

/** One file on its way. States: waiting, running, failed, cancelled; a stored one is dismissed. */
class Job {
  #key = idempotencyKey();
  #request = null;
  #actions;
  #meta = element("div", { class: "meta" });
  #bar;
  #buttons = element("div", { class: "actions" });

  constructor(file, owner, actions) {
    this.file = file;
    this.owner = owner;
    this.name = file.name || "unnamed";
    this.#actions = actions;
    this.#bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${this.name}` });
    const kind = format.kind(file.type);
    this.row = element(
      "li",
      { class: "row running", "data-test": "upload" },
      element("span", { class: `thumb ${kind}` }, icon(format.kindIcon(kind))),
      element(
        "div",
        { class: "row-main" },
        element("span", { class: "name", dir: "auto", title: this.name }, this.name),
        this.#bar,
        this.#meta,
      ),
      this.#buttons,
    );
    this.wait();
  }

  get over() {
    return this.state === "failed" || this.state === "cancelled";
  }

  wait() {
    this.#become("waiting", `Waiting`, [this.#cancelButton()]);
    this.#bar.value = 0;
  }

  fail(error) {
    // Sending the same file again cannot help where the file itself is the trouble.
    const again = ["too_large", "bad_request"].includes(error.code) ? null : this.#retryButton();
    this.#become("failed", error.message, [again, this.#dismissButton()]);
  }

  cancel() {
    this.#become("cancelled", "Cancelled", [this.#retryButton(), this.#dismissButton()]);
    this.#request?.abort();
  }

  /** Sends the file; resolves with the stored attachment. */
  send() {
    this.#become("running", `0 B of ${format.bytes(this.file.size)}`, [this.#cancelButton()]);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open("POST", withQuery("/v1/attachments", { filename: this.name, owner: this.owner }));
      request.setRequestHeader("content-type", this.file.type || "application/octet-stream");
      request.setRequestHeader("idempotency-key", this.#key);
      request.upload.addEventListener("progress", (event) => this.#progress(event.loaded));
      request.addEventListener("error", () => reject(unreachable()));
      request.addEventListener("timeout", () => reject(unreachable()));
      request.addEventListener("abort", () => reject(new ApiError("Cancelled")));
      request.addEventListener("load", () => {
        const { status, responseText } = request;
        if (status < 200 || status > 299) {
          reject(problem(status, responseText, { get: (name) => request.getResponseHeader(name) }));
          return;
        }
        try {
          resolve(JSON.parse(responseText));
        } catch {
          reject(new ApiError("The server's response could not be read. Try again; nothing is stored twice."));
        }
      });
      request.send(this.file);
    });
  }

  #progress(loaded) {
    if (this.state !== "running") return;
    const size = this.file.size;
    this.#bar.value = size > 0 ? loaded / size : 1;
    this.#say(loaded >= size ? "Storing …" : `${format.bytes(loaded)} of ${format.bytes(size)}`);
  }

  #become(state, text, buttons) {
    const focused = this.#buttons.contains(document.activeElement);
    this.state = state;
    this.#bar.hidden = this.over;
    this.#meta.classList.toggle("wrong", state === "failed");
    this.row.dataset.state = state;
    this.#say(text);
    this.#buttons.replaceChildren(...buttons.filter(Boolean));
    if (focused) this.#buttons.firstElementChild?.focus();
  }

  #say(text) {
    this.#meta.replaceChildren(element("span", {}, text));
    if (this.state === "waiting") this.#meta.append(element("span", {}, format.bytes(this.file.size)));
  }

  #cancelButton() {
    return iconButton("close", `Cancel upload of ${this.name}`, { "data-test": "abort", onclick: this.#actions.cancel });
  }

  #retryButton() {
    return iconButton("retry", `Try again to upload ${this.name}`, { "data-test": "retry", onclick: this.#actions.retry });
  }

  #dismissButton() {
    return iconButton("close", `Dismiss ${this.name}`, { "data-test": "dismiss", onclick: this.#actions.dismiss });
  }
}

/** 128 random bits. `crypto.randomUUID` is missing where the page is served over plain HTTP off loopback. */
function idempotencyKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
