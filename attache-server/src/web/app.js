// Puts the page together: where files come in, the owner field, used space.

import * as api from "./api.js";
import { announce, byId } from "./dom.js";
import * as format from "./format.js";
import { List } from "./list.js";
import { session } from "./session.js";
import { initStatus } from "./status.js";
import { Uploads } from "./upload.js";

const owner = byId("owner");
const ownerHint = byId("owner-hint");
const ownerHelp = ownerHint.textContent;
let limits = {};

const list = new List({ onChanged: showLimits });
const uploads = new Uploads({
  onStored: (attachment) => {
    if (attachment) list.prepend(attachment);
    else list.load(listed ?? "");
    showLimits();
  },
  refuse: (file) =>
    limits.max_file_bytes != null && file.size > limits.max_file_bytes
      ? `This file has ${format.bytes(file.size)}; at most ${format.bytes(limits.max_file_bytes)} are accepted.`
      : null,
});

function add(files) {
  if (files.length === 0) return;
  if (!ownerIsValid()) {
    announce("Nothing was uploaded: the owner is not written as kind:id.");
    owner.focus();
    return;
  }
  uploads.add(files, owner.value.trim());
}

byId("file-input").addEventListener("change", (event) => {
  add(Array.from(event.target.files));
  // Choosing the same file again is a change only after this.
  event.target.value = "";
});

// Dropping. Entering a child fires before leaving its parent, so enters and leaves are counted.
let depth = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
const overlay = (on) => byId("drop-overlay").classList.toggle("on", on);

addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth += 1;
  overlay(true);
});
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});
addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  depth = Math.max(0, depth - 1);
  overlay(depth > 0);
});
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  overlay(false);
  const { files, folders } = dropped(event.dataTransfer);
  if (folders > 0) announce("Folders cannot be uploaded; drop the files inside.");
  add(files);
});
addEventListener("paste", (event) => {
  add(Array.from(event.clipboardData?.files ?? []));
});

/** A dropped folder looks like a file that cannot be read, so it is told apart before anything is sent. */
function dropped(transfer) {
  const items = Array.from(transfer.items).filter((item) => item.kind === "file");
  const files = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile());
  return { files: files.filter(Boolean), folders: items.length - files.length };
}

function ownerIsValid() {
  return /^([^:\s]+:\S.*)?$/.test(owner.value.trim());
}

// The owner stands in the address too, so that a reload or a bookmark keeps it.
owner.value = new URLSearchParams(location.search).get("owner") ?? "";
if (!ownerIsValid()) owner.value = "";
let listed = null;
let typing;
owner.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(useOwner, 350);
});
owner.addEventListener("change", useOwner);

function useOwner() {
  clearTimeout(typing);
  const valid = ownerIsValid();
  owner.setAttribute("aria-invalid", String(!valid));
  ownerHint.textContent = valid ? ownerHelp : "Write it as kind:id, for example page:42.";
  ownerHint.classList.toggle("wrong", !valid);
  const value = owner.value.trim();
  if (!valid || value === listed) return;
  listed = value;
  history.replaceState(null, "", api.withQuery(location.pathname, { owner: value }) + location.hash);
  list.load(value);
}

async function showLimits() {
  try {
    limits = await api.limits();
  } catch {
    // Only a hint: the server enforces the limits whether we know them or not.
    return;
  }
  const { used_bytes: used, total_bytes: total, max_file_bytes: largest } = limits;
  const bounded = total != null;
  byId("usage").hidden = false;
  byId("usage-text").textContent = bounded
    ? `${format.bytes(used)} of ${format.bytes(total)} used`
    : `${format.bytes(used)} stored`;
  const bar = byId("usage-bar");
  bar.hidden = !bounded;
  bar.value = bounded && total > 0 ? Math.min(1, used / total) : 0;
  bar.classList.toggle("full", bounded && used >= total * 0.9);
  byId("drop-hint").textContent =
    largest == null
      ? "or paste them, or choose them from your device"
      : `or paste them, or choose them from your device, up to ${format.bytes(largest)} each`;
}

session().then(
  ({ name }) => {
    initStatus();
    useOwner();
    showLimits();
    uploads.restore(name);
  },
  (error) => announce(error.message),
);
