// The status section: whatever nested JSON `GET /v1/status` gives, as tables of names and values.

import * as api from "./api.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";

/** Loads when opened, and on request. */
export function initStatus() {
  const section = byId("status");
  const refresh = byId("status-refresh");
  section.addEventListener("toggle", () => {
    if (section.open) load();
  });
  refresh.addEventListener("click", load);
  if (location.hash === "#status") section.open = true;

  async function load() {
    refresh.disabled = true;
    try {
      byId("status-content").replaceChildren(facts(await api.status()));
    } catch (error) {
      byId("status-content").replaceChildren(element("p", { class: "bad" }, `The status could not be loaded. ${error.message}`));
    }
    refresh.disabled = false;
  }
}

/** Plain values first, then groups, so that a group's end is never in doubt. */
export function facts(object) {
  const entries = Object.entries(object ?? {});
  const [groups, plain] = [entries.filter(([, value]) => isGroup(value)), entries.filter(([, value]) => !isGroup(value))];
  return element(
    "dl",
    { class: "facts" },
    ...plain.map(([key, value]) => element("div", { class: "fact" }, element("dt", {}, title(key)), described(key, value))),
    ...groups.map(([key, value]) =>
      element("div", { class: "fact-group" }, element("dt", {}, groupTitle(key, value)), element("dd", {}, facts(value))),
    ),
  );
}

const isGroup = (value) =>
  Array.isArray(value) ? value.some(isGroup) : value !== null && typeof value === "object" && Object.keys(value).length > 0;

function described(key, value) {
  const text = readable(key, value);
  const word = String(value).toLowerCase();
  const tone = GOOD.has(word) ? "good" : BAD.has(word) ? "bad" : null;
  return element("dd", { class: tone, dir: "auto" }, text);
}

function readable(key, value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map((one) => readable(key, one)).join(", ");
  if (typeof value === "object") return "–";
  if (typeof value === "number") {
    if (/(^|_)bytes($|_)/.test(key)) return format.bytes(value);
    if (/_ms$/.test(key)) return `${value.toLocaleString("en", { maximumFractionDigits: 1 })} ms`;
    if (/_s$/.test(key)) return Math.abs(value) < 1 ? "0 seconds" : format.duration(value);
    return value.toLocaleString("en");
  }
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return format.fullDate(value);
  return value;
}

/** A list's group goes by its name where it has one. */
const groupTitle = (key, value) => (/^\d+$/.test(key) && typeof value.name === "string" ? title(value.name) : title(key));

/** `used_bytes` → `Used`, `entra_token` → `Entra token`; a list's `0` → `1`. */
function title(key) {
  if (/^\d+$/.test(key)) return String(Number(key) + 1);
  const words = key.replace(/_(bytes|ms|s)$/, "").replace("bytes_", "").replaceAll("_", " ").trim() || key;
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const GOOD = new Set(["ok", "ready", "healthy", "up"]);
const BAD = new Set(["failed", "error", "unhealthy", "unavailable", "down"]);
