// Which uploads this browser has begun and not finished. A reload takes the files from the page, not what has arrived of them.

const PREFIX = "attache-upload:";
const held = new Map();

/** What tells a file from others, as far as a browser shows it. */
export const fingerprint = ({ name, type, size, lastModified }, owner) =>
  JSON.stringify([name, type, size, lastModified, owner]);

/** Remembers an upload of `who`, until it is forgotten, and keeps it for this page as long as the page lives. */
export function keep(id, { name, type, size, lastModified }, owner, who) {
  const kept = { name, type, size, lastModified, owner, who };
  storage((all) => all.setItem(PREFIX + id, JSON.stringify(kept)));
  claim(id);
}

export function forget(id) {
  storage((all) => all.removeItem(PREFIX + id));
  held.get(id)?.();
  held.delete(id);
}

/** Uploads of `who` as `[id, about the file]`. Those of others stay unseen. */
export function unfinished(who) {
  const keys = storage((all) => Object.keys(all)) ?? [];
  const ids = keys.filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length));
  return ids.map((id) => [id, find(id)]).filter(([, kept]) => kept?.who === who);
}

export function find(id) {
  try {
    return JSON.parse(storage((all) => all.getItem(PREFIX + id)));
  } catch {
    return null;
  }
}

/** Resolves when no other page of this browser works on the upload, and keeps others from it. */
export function claim(id) {
  // Browsers have locks only where the page came over https, or from this machine.
  if (!navigator.locks) return Promise.resolve();
  return new Promise((granted) => {
    const until = () =>
      new Promise((release) => {
        held.set(id, release);
        granted();
      });
    navigator.locks.request(PREFIX + id, until).catch(granted);
  });
}

/** Without storage (it is full, or forbidden) uploads work, and end with the page. */
function storage(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}
