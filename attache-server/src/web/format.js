// Numbers, dates and types as people read them.

/** `1536` → `1.5 KiB`. Powers of 1024, as in the configuration, so that limits read the same in both. */
export function bytes(count) {
  if (!Number.isFinite(count)) return "unknown";
  let value = count;
  let unit = 0;
  while (Math.abs(value) >= 1023.95 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value)} ${UNITS[unit]}`;
}

/** `90` → `90 seconds`, `7200` → `2 hours`: the largest unit that stays exact enough to rely on. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [size, name] of SPANS) {
    const count = whole / size;
    if (count >= 2 || (count >= 1 && Number.isInteger(count))) return plural(Math.floor(count), name);
  }
  return plural(whole, "second");
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** `Today, 14:02`, `Yesterday, 09:30`, `3 Nov, 18:20`, `3 Nov 2024`. */
export function date(text, now = new Date()) {
  const when = new Date(text);
  if (Number.isNaN(when.getTime())) return text;
  const time = TIME.format(when);
  const days = Math.round((midnight(now) - midnight(when)) / 86_400_000);
  if (days === 0) return `Today, ${time}`;
  if (days === 1) return `Yesterday, ${time}`;
  return when.getFullYear() === now.getFullYear() ? `${DAY.format(when)}, ${time}` : DAY_AND_YEAR.format(when);
}

export const fullDate = (text) => {
  const when = new Date(text);
  return Number.isNaN(when.getTime()) ? text : FULL.format(when);
};

export const clock = (when) => TIME.format(when);

/** `image/png` → `PNG image`; a type without a friendly name is shown as it is. */
export function type(contentType) {
  const essence = essenceOf(contentType);
  if (NAMES[essence]) return NAMES[essence];
  const [kind, subtype = ""] = essence.split("/");
  const short = subtype.replace(/^x-/, "").replace(/\+xml$/, "");
  if (["image", "video", "audio"].includes(kind) && short && short.length <= 6) return `${short.toUpperCase()} ${kind}`;
  return essence || "unknown type";
}

/** Which icon and colour a type gets. */
export function kind(contentType) {
  const essence = essenceOf(contentType);
  const family = essence.split("/")[0];
  if (["image", "video", "audio", "text"].includes(family)) return family;
  if (essence === "application/pdf") return "pdf";
  if (/zip|tar|compressed|7z|rar|gzip/.test(essence)) return "archive";
  if (/json|xml|document|msword|opendocument/.test(essence)) return "text";
  return "file";
}

/** The icon of a kind. */
export const kindIcon = (name) => (name === "pdf" ? "text" : name);

const essenceOf = (contentType) => (contentType ?? "").split(";")[0].trim().toLowerCase();
const midnight = (when) => new Date(when.getFullYear(), when.getMonth(), when.getDate());

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const SPANS = [[86_400, "day"], [3_600, "hour"], [60, "minute"]];
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const NAMES = {
  "application/gzip": "GZIP archive",
  "application/json": "JSON",
  "application/msword": "Word document",
  "application/octet-stream": "Binary file",
  "application/pdf": "PDF",
  "application/vnd.ms-excel": "Excel sheet",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PowerPoint slides",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "Excel sheet",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "Word document",
  "application/x-7z-compressed": "7z archive",
  "application/x-tar": "TAR archive",
  "application/xml": "XML",
  "application/zip": "ZIP archive",
  "audio/mpeg": "MP3 audio",
  "image/svg+xml": "SVG image",
  "text/csv": "CSV table",
  "text/html": "HTML page",
  "text/markdown": "Markdown",
  "text/plain": "Plain text",
  "video/quicktime": "QuickTime video",
};
