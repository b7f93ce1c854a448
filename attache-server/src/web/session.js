// Signing in, where the server asks who is there: a token is exchanged for a cookie that scripts cannot read.

import * as api from "./api.js";
import { byId } from "./dom.js";

/** Who is signed in and may do what; asks for a token until somebody is. */
export async function session() {
  for (;;) {
    try {
      const known = await api.session();
      show(known);
      return known;
    } catch (error) {
      if (error.status !== 401) throw error;
      await signIn();
    }
  }
}

/** What has no use for somebody without these scopes is not shown. */
function show({ name, scopes }) {
  for (const element of document.querySelectorAll("[data-scope]")) {
    element.hidden = !scopes.includes(element.dataset.scope);
  }
  byId("session").hidden = name === "open";
  byId("session-name").textContent = name.replace(/^token:/, "");
  byId("sign-out").onclick = async () => {
    await api.signOut();
    location.reload();
  };
}

function signIn() {
  const dialog = byId("sign-in-dialog");
  const field = byId("sign-in-token");
  const said = byId("sign-in-error");
  const button = byId("sign-in-confirm");
  // There is nothing behind it to go back to.
  dialog.oncancel = (event) => event.preventDefault();
  if (!dialog.open) dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    byId("sign-in-form").onsubmit = async (event) => {
      event.preventDefault();
      if (field.value.trim() === "") return;
      button.disabled = true;
      try {
        await api.signIn(field.value.trim());
        field.value = "";
        said.textContent = "";
        dialog.close();
        resolve();
      } catch (error) {
        said.textContent = error.message;
        field.select();
      } finally {
        button.disabled = false;
      }
    };
  });
}
