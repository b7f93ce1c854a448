"""Uploads a file by tuspy or aiotus, as TUS_HOW says. Prints the URL of the upload once the client calls it complete."""

import asyncio
import os
import sys

ENDPOINT, FILE, HOW = (os.environ["TUS_" + name] for name in ("ENDPOINT", "FILE", "HOW"))
CHUNK = 300_000
# Neither waits long here: the delays of a user are 30 s, and 1, 2, 4, 8 .. s.
TRIES, WAIT = 200, 0.1


def tuspy():
    from tusclient.client import TusClient
    from tusclient.exceptions import TusCommunicationError
    from tusclient.storage.filestorage import FileStorage

    options = {"retries": TRIES, "retry_delay": WAIT, "store_url": True, "url_storage": FileStorage(os.environ["TUS_STORE"])}
    if HOW == "chunked":
        # It sends an empty Upload-Metadata then, and a checksum whether or not the server takes any.
        options |= {"chunk_size": CHUNK, "upload_checksum": True}
    else:
        options["metadata"] = {"filename": os.environ["TUS_NAME"]}
    for _ in range(TRIES):
        uploader = TusClient(ENDPOINT).uploader(FILE, **options)
        try:
            uploader.upload()
            return uploader.url
        except TusCommunicationError:
            # It leaves it to the application to create an upload again.
            if uploader.url:
                raise
    return None


def aiotus():
    import aiotus

    config = aiotus.RetryConfiguration(retry_attempts=TRIES, max_retry_period_seconds=WAIT)
    more = {"chunksize": CHUNK} if HOW == "chunked" else {}
    # A key without a value, and one of an empty value.
    metadata = {"filename": os.environ["TUS_NAME"].encode(), "is_secret": None, "note": b""}
    with open(FILE, "rb") as file:
        return asyncio.run(aiotus.upload(ENDPOINT, file, metadata, config=config, **more))


url = {"tuspy": tuspy, "aiotus": aiotus}[sys.argv[1]]()
if url is None:
    sys.exit("it gave up")
print(url)
