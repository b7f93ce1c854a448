// One file on its way, and its row.

import { ApiError } from "./api.js";
import { element, icon, iconButton } from "./dom.js";
import * as format from "./format.js";
import * as kept from "./kept.js";
import { Upload } from "./tus.js";

/**
 * States: waiting, running, paused, failed, cancelled; and "unfinished" for an upload of an earlier page, whose file must be
 * chosen again. A stored one is dismissed.
 */
export class Job {
  file = null;
  /** It waits for the network or the server, and not for somebody. */
  stalled = false;
  #upload;
  #keptAs;
  #actions;
  #meta = element("div", { class: "meta" });
  #bar;
  #buttons = element("div", { class: "actions" });

  /** `about` is a file, or what is kept of one; of an upload that was begun before, `id`. */
  constructor({ about, owner, who, id = null, actions }) {
    const { name, type, size } = about;
    this.owner = owner;
    this.size = size;
    this.name = name || "unnamed";
    this.fingerprint = kept.fingerprint(about, owner);
    this.#actions = actions;
    this.#upload = new Upload({
      metadata: { filename: this.name, filetype: type, owner },
      id,
      onCreated: (made) => {
        this.#forget();
        this.#keptAs = made;
        kept.keep(made, about, owner, who);
      },
      onGone: () => this.#forget(),
      onProgress: (bytes) => this.#progress(bytes),
      onTrouble: (error) => this.state === "running" && this.#say(`Trying again … ${error.message}`),
    });
    this.#keptAs = id;
    this.#bar = element("progress", { max: 1, value: 0, "aria-label": `Upload of ${this.name}` });
    const kind = format.kind(type);
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
    if (about instanceof File) this.take(about);
    else this.#becomeUnfinished();
  }

  get over() {
    return this.state === "failed" || this.state === "cancelled";
  }

  /** Ends with the page, as far as it has not arrived. */
  get active() {
    return ["waiting", "running", "paused"].includes(this.state);
  }

  /** The file is here, for the first time or again. */
  take(file) {
    this.file = file;
    this.#upload.file = file;
    this.wait();
  }

  wait() {
    this.stalled = false;
    this.#become("waiting", "Waiting", [this.#cancelButton()]);
    this.#meta.append(element("span", {}, format.bytes(this.size)));
  }

  /** Sends what is missing; resolves with the id of the attachment, or with `null` if it was stopped. */
  async send() {
    this.#become("running", "", [this.#pauseButton(), this.#cancelButton()]);
    this.#progress(this.#upload.offset);
    const id = await this.#upload.run();
    if (id !== null) this.#forget();
    return id;
  }

  pause() {
    this.#upload.stop();
    this.#becomePaused(`Paused at ${this.#sofar}`);
  }

  /** It would go on if it could. */
  stall(error) {
    this.#becomePaused(`Paused at ${this.#sofar}. ${error.message}`);
    this.stalled = true;
  }

  fail(error) {
    // Sending the same file again cannot help where the file itself is the trouble.
    const again = ["too_large", "bad_request"].includes(error.code) ? null : this.#retryButton();
    if (again === null || error.code === "refused") this.discard();
    this.#become("failed", error.message, [again, this.#dismissButton()]);
  }

  cancel() {
    this.discard();
    this.#become("cancelled", "Cancelled", [this.#retryButton(), this.#dismissButton()]);
  }

  /** Leaves nothing of it at the server. */
  discard() {
    this.#upload.discard();
  }

  /** Asks how far an upload of an earlier page is; whether there is still something to go on with. */
  async look() {
    try {
      await this.#upload.look();
    } catch (error) {
      if (error.status === 404) this.#forget();
      return error.status !== 404;
    }
    this.#becomeUnfinished();
    if (this.#upload.complete) this.#forget();
    return !this.#upload.complete;
  }

  #forget() {
    if (this.#keptAs) kept.forget(this.#keptAs);
    this.#keptAs = null;
  }

  get #sofar() {
    return `${format.bytes(this.#upload.offset)} of ${format.bytes(this.size)}`;
  }

  #progress(bytes) {
    this.#bar.value = this.size > 0 ? bytes / this.size : 1;
    if (this.state !== "running") return;
    this.#say(bytes >= this.size ? "Storing …" : `${format.bytes(bytes)} of ${format.bytes(this.size)}`);
  }

  #becomePaused(text) {
    this.#become("paused", text, [this.#resumeButton(), this.#cancelButton()]);
  }

  #becomeUnfinished() {
    const whose = this.owner ? ` for ${this.owner}` : "";
    this.#become("unfinished", `${this.#sofar} arrived${whose}. Choose the file again to go on.`, [
      this.#chooseButton(),
      this.#giveUpButton(),
    ]);
  }

  #become(state, text, buttons) {
    const focused = this.#buttons.contains(document.activeElement);
    this.state = state;
    this.#bar.hidden = this.over;
    this.#meta.classList.toggle("wrong", state === "failed");
    this.row.dataset.state = state;
    this.#say(text);
    this.#buttons.replaceChildren(...buttons.filter(Boolean));
    if (focused) this.#buttons.querySelector("button")?.focus();
  }

  #say(text) {
    this.#meta.replaceChildren(element("span", {}, text));
  }

  #button(name, label, test, action) {
    return iconButton(name, label, { "data-test": test, onclick: this.#actions[action] });
  }

  #pauseButton() {
    return this.#button("pause", `Pause upload of ${this.name}`, "pause", "pause");
  }

  #resumeButton() {
    return this.#button("play", `Go on with upload of ${this.name}`, "resume", "resume");
  }

  #cancelButton() {
    return this.#button("close", `Cancel upload of ${this.name}`, "abort", "cancel");
  }

  #retryButton() {
    return this.#button("retry", `Try again to upload ${this.name}`, "retry", "resume");
  }

  #dismissButton() {
    return this.#button("close", `Dismiss ${this.name}`, "dismiss", "dismiss");
  }

  #giveUpButton() {
    return this.#button("close", `Give up upload of ${this.name}`, "give-up", "dismiss");
  }

  #chooseButton() {
    const input = element("input", { class: "hidden", type: "file", tabindex: -1, "aria-hidden": "true", "data-test": "choose-again" });
    input.addEventListener("change", () => {
      const [file] = input.files;
      input.value = "";
      if (!file) return;
      if (kept.fingerprint(file, this.owner) === this.fingerprint) this.#actions.chosen(file);
      else this.#say(`That is another file, or it has changed. Choose ${this.name} again, or upload the other one as a new file.`);
    });
    const button = iconButton("upload", `Choose ${this.name} again, to go on with its upload`, { onclick: () => input.click() });
    return element("span", {}, input, button);
  }
}

/** A refusal that needs no server. */
export const tooLarge = (why) => new ApiError(why, { code: "too_large" });
