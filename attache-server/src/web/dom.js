// Builds elements. Text only ever becomes a text node: file names are hostile until proven otherwise.

/** `element("a", { class: "name", href }, "text", child)`; `null` children and properties are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button or link that shows an icon and says `label`. */
export function iconButton(name, label, attributes) {
  const tag = attributes.href ? "a" : "button";
  const { class: more = "", ...rest } = attributes;
  return element(
    tag,
    { class: `icon-button ${more}`.trim(), type: tag === "button" && "button", title: label, "aria-label": label, ...rest },
    icon(name),
  );
}

export const byId = (id) => document.getElementById(id);

/** Says something to everybody: shown for a while, and read out by screen readers. */
export function announce(text) {
  const toast = byId("message");
  clearTimeout(hiding);
  // Emptied first, so that the same words twice are read out twice.
  toast.textContent = "";
  requestAnimationFrame(() => {
    toast.textContent = text;
    toast.classList.add("on");
  });
  hiding = setTimeout(() => toast.classList.remove("on"), 5000);
}

const SVG = "http://www.w3.org/2000/svg";
let hiding;
