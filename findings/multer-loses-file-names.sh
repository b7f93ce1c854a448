#!/usr/bin/env bash
# multer, the form parser of axum: three valid ways to write a file name give a field without one.
#
# One would guess: the parser reads Content-Disposition as the RFCs have it: names of parameters in any case (RFC 2045, 5.1), `filename*`
#   with its charset (RFC 6266), and a name in Latin-1 as something, were it with replacement characters, or as an error.
# What happens: `filename*=UTF-8''…` and a `filename="…"` whose bytes are not UTF-8 give `file_name() == None` without an error;
#   `Name="…"; FileName="…"` gives neither name. What arrives looks like a text field.
# Versions: multer 3.1.0.
# Why it matters: code that tells files from text fields by `file_name().is_some()`, as most examples do, drops the attachment or
#   reads it as text. RFC 7578 tells senders not to use `filename*`, mail libraries and some HTTP clients write it all the same, and
#   pages in Latin-1 send such names. The raw header is still in `headers()`.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
multer = "=3.1.0"
futures-util = { version = "=0.3.31", default-features = false, features = ["std"] }
futures-executor = "=0.3.31"
TOML
cat >src/main.rs <<'RUST'
use futures_util::stream;

fn main() {
    let cases: [(&str, &[u8], Option<&str>, Option<&str>); 4] = [
        ("UTF-8", "form-data; name=\"file\"; filename=\"Grüße.txt\"".as_bytes(), Some("file"), Some("Grüße.txt")),
        ("Latin-1", b"form-data; name=\"file\"; filename=\"Gr\xfc\xdfe.txt\"", Some("file"), None),
        ("filename*", b"form-data; name=\"file\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt", Some("file"), None),
        ("capitals", b"form-data; Name=\"file\"; FileName=\"report.txt\"", None, None),
    ];
    for (label, disposition, name, file_name) in cases {
        let body = [b"--b\r\nContent-Disposition: ".as_slice(), disposition, b"\r\n\r\nhello\r\n--b--\r\n"].concat();
        let body = stream::iter([Ok::<_, std::io::Error>(body)]);
        futures_executor::block_on(async {
            let mut form = multer::Multipart::new(body, "b");
            let field = form.next_field().await.expect("a valid form").expect("one field");
            println!("{label}: name {:?}, file name {:?}", field.name(), field.file_name());
            assert_eq!((field.name(), field.file_name()), (name, file_name));
            assert_eq!(field.bytes().await.expect("a whole body").as_ref(), b"hello");
        });
    }
}
RUST
export CARGO_TARGET_DIR="$dir/target"
cargo build --quiet
cargo tree --quiet --depth 1 | grep multer
target/debug/finding || { echo "the behaviour has changed"; exit 1; }
