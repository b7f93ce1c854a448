// Uploads: two at a time, the rest wait. Each goes on where it was, after trouble, a pause, or a reload of the page.

import * as api from "./api.js";
import { announce, byId } from "./dom.js";
import * as format from "./format.js";
import { Job, tooLarge } from "./job.js";
import * as kept from "./kept.js";
import { passes } from "./tus.js";

const PARALLEL = 2;

/**
 * The queue and its rows.
 *
 * `onStored(attachment)` runs once per stored file, with `null` if it cannot be read; `refuse(file)` may say why a file need not
 * even be sent.
 */
export class Uploads {
  #jobs = [];
  #onStored;
  #refuse;
  #who = "";

  constructor({ onStored, refuse }) {
    this.#onStored = onStored;
    this.#refuse = refuse;
    byId("clear-uploads").addEventListener("click", () => {
      this.#jobs.filter((job) => job.over).forEach((job) => this.#dismiss(job));
      byId("file-input").focus();
    });
    addEventListener("beforeunload", (event) => {
      if (this.#jobs.some((job) => job.active)) event.preventDefault();
    });
    addEventListener("online", () => {
      this.#jobs.filter((job) => job.state === "paused" && job.stalled).forEach((job) => job.wait());
      this.#advance();
    });
  }

  /** Queues files for `owner` (may be empty). A file whose upload was begun on an earlier page goes on with it. */
  add(files, owner) {
    for (const file of files) {
      const fingerprint = kept.fingerprint(file, owner);
      const begun = this.#jobs.find((job) => job.state === "unfinished" && job.fingerprint === fingerprint);
      if (begun) begun.take(file);
      else this.#append(this.#job({ about: file, owner }));
    }
    this.#advance();
  }

  /** Shows what `who` has begun on earlier pages. An upload that another page works on appears when that one is closed. */
  restore(who) {
    this.#who = who;
    for (const [id, about] of kept.unfinished(who)) {
      kept.claim(id).then(async () => {
        // The other page may have finished it.
        if (!kept.find(id)) return kept.forget(id);
        const job = this.#job({ about, owner: about.owner, id });
        if (await job.look()) this.#append(job);
      });
    }
  }

  #job({ about, owner, id }) {
    const job = new Job({
      about,
      owner,
      id,
      who: this.#who,
      actions: {
        pause: () => {
          job.pause();
          this.#advance();
        },
        resume: () => {
          job.wait();
          this.#advance();
        },
        cancel: () => {
          job.cancel();
          announce(`Upload of ${job.name} cancelled.`);
          this.#advance();
        },
        chosen: (file) => {
          job.take(file);
          this.#advance();
        },
        dismiss: () => {
          this.#dismiss(job);
          byId("file-input").focus();
        },
      },
    });
    return job;
  }

  #append(job) {
    this.#jobs.push(job);
    byId("upload-rows").append(job.row);
    this.#show();
  }

  #advance() {
    const free = PARALLEL - this.#jobs.filter((job) => job.state === "running").length;
    const waiting = this.#jobs.filter((job) => job.state === "waiting");
    waiting.slice(0, Math.max(0, free)).forEach((job) => this.#run(job));
    this.#show();
  }

  async #run(job) {
    const why = this.#refuse(job.file);
    try {
      if (why) throw tooLarge(why);
      const id = await job.send();
      if (id === null) return;
      this.#remove(job);
      announce(`${job.name} was uploaded.`);
      this.#onStored(await api.find(id).catch(() => null));
    } catch (error) {
      // Paused or cancelled meanwhile, which is what its row says.
      if (!why && job.state !== "running") return;
      const passing = !why && passes(error);
      if (passing) job.stall(error);
      else job.fail(error);
      announce(`${job.name} ${passing ? "is paused" : "was not uploaded"}. ${error.message}`);
    }
    this.#advance();
  }

  #dismiss(job) {
    job.discard();
    this.#remove(job);
  }

  #remove(job) {
    this.#jobs = this.#jobs.filter((other) => other !== job);
    job.row.remove();
    this.#show();
  }

  #show() {
    const open = this.#jobs.filter((job) => job.active).length;
    const rest = this.#jobs.some((job) => job.state === "unfinished") ? "Not finished" : "Not uploaded";
    byId("uploads").hidden = this.#jobs.length === 0;
    byId("uploads-title").textContent = open > 0 ? `Uploading ${format.plural(open, "file")}` : rest;
    byId("clear-uploads").hidden = !this.#jobs.some((job) => job.over);
  }
}
