// The list of attachments, newest first, and what can be done with each.

import * as api from "./api.js";
import { announce, byId, element, icon, iconButton } from "./dom.js";
import * as format from "./format.js";

/** Larger images keep their icon: a thumbnail fetches the whole file. */
const LARGEST_THUMBNAIL = 20 * 1024 * 1024;

/** `onChanged()` runs after something was deleted here. */
export class List {
  #owner = "";
  #next = null;
  #turn = 0;
  #rows = byId("list-rows");
  #question;

  constructor({ onChanged }) {
    this.#question = new DeleteQuestion(async (item, row) => {
      await api.remove(item.id);
      const neighbour = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (neighbour?.querySelector(".name") ?? byId("attachments")).focus();
      announce(`${item.filename} was deleted.`);
      this.#show();
      onChanged();
    });
    byId("show-more").addEventListener("click", () => this.#more());
    byId("list-retry").addEventListener("click", () => this.load(this.#owner));
  }

  /** Shows the newest attachments, of `owner` if it is not empty. */
  async load(owner) {
    this.#owner = owner;
    this.#next = null;
    await this.#fetch(() => this.#rows.replaceChildren());
  }

  /** Puts a fresh attachment on top, unless the list shows another owner's. */
  prepend(item) {
    if (this.#owner && item.owner !== this.#owner) return;
    // A retry may bring what a reload has shown already.
    this.#rows.querySelector(`[data-id="${CSS.escape(item.id)}"]`)?.remove();
    const row = this.#row(item);
    row.classList.add("new");
    this.#rows.prepend(row);
    this.#show();
  }

  async #more() {
    const button = byId("show-more");
    const last = this.#rows.lastElementChild;
    button.disabled = true;
    await this.#fetch(() => {});
    button.disabled = false;
    last?.nextElementSibling?.querySelector(".name")?.focus();
  }

  /** Appends the next page after `prepare`; an answer that a newer question overtook is dropped. */
  async #fetch(prepare) {
    const turn = ++this.#turn;
    this.#rows.setAttribute("aria-busy", "true");
    byId("list-error").hidden = true;
    try {
      const page = await api.list({ owner: this.#owner, after: this.#next });
      if (turn !== this.#turn) return;
      prepare();
      const shown = new Set(Array.from(this.#rows.children, (row) => row.dataset.id));
      this.#rows.append(...page.items.filter((item) => !shown.has(item.id)).map((item) => this.#row(item)));
      this.#next = page.next ?? null;
      this.#show();
    } catch (error) {
      if (turn !== this.#turn) return;
      byId("list-error-text").textContent = `The list could not be loaded. ${error.message}`;
      byId("list-error").hidden = false;
      byId("list-empty").hidden = true;
    } finally {
      if (turn === this.#turn) this.#rows.setAttribute("aria-busy", "false");
    }
  }

  #show() {
    const count = this.#rows.childElementCount;
    const empty = byId("list-empty");
    empty.hidden = count > 0;
    byId("list-empty-title").textContent = this.#owner ? `Nothing belongs to ${this.#owner}` : "Nothing here yet";
    byId("list-empty-hint").textContent = this.#owner
      ? "Files you upload now will. Clear the owner to see everything."
      : "Files you upload appear here.";
    byId("list-note").textContent = count === 0 ? "" : `${count.toLocaleString("en")}${this.#next ? "+" : ""}, newest first`;
    byId("list-more").hidden = !this.#next;
  }

  #row(item) {
    const name = item.filename || item.id;
    const row = element(
      "li",
      { class: "row listed", "data-test": "item", "data-id": item.id },
      thumbnail(item),
      element(
        "div",
        { class: "row-main" },
        element(
          "a",
          { class: "name", dir: "auto", title: name, href: item.links.inline, target: "_blank", rel: "noopener", "data-test": "name" },
          name,
        ),
        element(
          "div",
          { class: "meta" },
          element("span", { title: `${item.size.toLocaleString("en")} bytes` }, format.bytes(item.size)),
          element("span", { title: item.content_type }, format.type(item.content_type)),
          element("time", { datetime: item.created_at, title: format.fullDate(item.created_at) }, format.date(item.created_at)),
          item.owner && !this.#owner ? element("span", { class: "tag", dir: "auto", title: "Owner" }, item.owner) : null,
        ),
      ),
      element(
        "div",
        { class: "actions" },
        iconButton("open", `Open ${name}`, { href: item.links.inline, target: "_blank", rel: "noopener", "data-test": "open" }),
        iconButton("download", `Download ${name}`, { href: item.links.download, download: true, "data-test": "download" }),
        iconButton("link", `Copy link to ${name}`, { "data-test": "copy-link", onclick: (event) => copyLink(item, row, event.currentTarget) }),
        iconButton("trash", `Delete ${name}`, { class: "delete", "data-test": "delete", onclick: () => this.#question.ask(item, row) }),
      ),
    );
    return row;
  }
}

function thumbnail(item) {
  const kind = format.kind(item.content_type);
  const box = element("span", { class: `thumb ${kind}` });
  if (kind !== "image" || item.size > LARGEST_THUMBNAIL) {
    box.append(icon(format.kindIcon(kind)));
    return box;
  }
  const image = element("img", { src: item.links.inline, alt: "", loading: "lazy", decoding: "async", width: 48, height: 48 });
  image.addEventListener("error", () => image.replaceWith(icon("image")));
  box.append(image);
  return box;
}

/** Makes a temporary link, shows it below the row and puts it on the clipboard where the browser lets us. */
async function copyLink(item, row, button) {
  button.disabled = true;
  try {
    const made = await api.temporaryUrl(item.id);
    const url = new URL(made.url, location.href).href;
    const expires = new Date(made.expires_at);
    const panel = linkPanel(row, url);
    const copied = await toClipboard(url, panel.field);
    const life = format.duration((expires - Date.now()) / 1000);
    panel.note.textContent =
      `${copied ? "Copied." : "Select and copy it."} Opens this file without signing in for ${life}, until ${format.clock(expires)}.`;
    announce(copied ? `Link copied. It is valid for ${life}.` : `The link is ready to be copied. It is valid for ${life}.`);
    panel.endAt(expires);
  } catch (error) {
    announce(`No link was made. ${error.message}`);
  } finally {
    button.disabled = false;
    if (document.activeElement === document.body) button.focus();
  }
}

function linkPanel(row, url) {
  row.querySelector(".link")?.remove();
  const field = element("input", { type: "text", readonly: true, "aria-label": "Temporary link", "data-test": "link-output", onfocus: () => selectAll(field) });
  const note = element("p", { "data-test": "link-note" });
  const close = iconButton("close", "Hide the link", {
    onclick: () => {
      panel.remove();
      row.querySelector('[data-test="copy-link"]').focus();
    },
  });
  const panel = element("div", { class: "link" }, field, close, note);
  field.value = url;
  row.append(panel);
  const endAt = (expires) => {
    // Longer waits than a timer can hold (24.8 days) end it at once otherwise.
    const left = Math.min(expires - Date.now(), 2 ** 31 - 1);
    setTimeout(() => {
      note.textContent = "This link has expired. Copy a new one.";
      note.classList.add("wrong");
    }, Math.max(0, left));
  };
  return { field, note, endAt };
}

async function toClipboard(text, field) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Refused, or plain HTTP off loopback, where there is no clipboard: the selected field is the way then.
    field.focus();
    selectAll(field);
    return false;
  }
}

/** Selects backwards, so that the link's beginning stays in view. */
function selectAll(field) {
  field.setSelectionRange(0, field.value.length, "backward");
  field.scrollLeft = 0;
}

/** Asks before deleting. */
class DeleteQuestion {
  #dialog = byId("delete-dialog");
  #confirm = byId("delete-confirm");
  #asked = null;

  constructor(onConfirmed) {
    byId("delete-cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog && !inside(event, this.#dialog)) this.#dialog.close();
    });
    this.#confirm.addEventListener("click", async () => {
      this.#confirm.disabled = true;
      try {
        const { item, row } = this.#asked;
        this.#dialog.close();
        await onConfirmed(item, row);
      } catch (error) {
        announce(`Not deleted. ${error.message}`);
      } finally {
        this.#confirm.disabled = false;
      }
    });
  }

  ask(item, row) {
    this.#asked = { item, row };
    byId("delete-name").textContent = item.filename || item.id;
    this.#dialog.showModal();
    byId("delete-cancel").focus();
  }
}

function inside(event, box) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
}
