// What a page does that uploads by tus-js-client or by Uppy; made into one script by esbuild.

import Uppy from "@uppy/core";
import Tus from "@uppy/tus";
import { Upload } from "tus-js-client";

/** The same one whenever it is chosen: clients know it by these. */
const file = async () => new File([await (await fetch("/file")).blob()], "写真 1.bin", { lastModified: 1 });

let uppy;
const ways = {
  "tus-js-client": async (endpoint) => {
    const chosen = await file();
    return new Promise((resolve, reject) => {
      const upload = new Upload(chosen, {
        endpoint,
        metadata: { filename: chosen.name, filetype: chosen.type },
        onSuccess: () => resolve(upload.url),
        onError: reject,
      });
      upload.findPreviousUploads().then((before) => {
        if (before.length > 0) upload.resumeFromPreviousUpload(before[0]);
        upload.start();
      });
    });
  },
  uppy: async (endpoint) => {
    uppy = new Uppy().use(Tus, { endpoint });
    const chosen = await file();
    uppy.addFile({ name: chosen.name, type: chosen.type, data: chosen });
    const result = await uppy.upload();
    if (result?.failed?.length > 0) throw result.failed[0].error;
    return result?.successful?.[0]?.uploadURL ?? "cancelled";
  },
};

globalThis.page = {
  begin(way, endpoint) {
    page.end = ways[way](endpoint).then(
      (url) => [url, null],
      (error) => [null, String(error)],
    );
  },
  pause: () => uppy.pauseAll(),
  resume: () => uppy.resumeAll(),
  cancel: () => uppy.cancelAll(),
};
