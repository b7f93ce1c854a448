//! Whatever Azure or Entra ID answers becomes an error that fits a line of a log, and shows no signature.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A line with the status and, perhaps, the header with the code; then the body.
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (head, answer) = input.split_at(end);
    let head = String::from_utf8_lossy(head);
    let (status, code) = head.split_once(' ').unwrap_or((&head, ""));
    let Some(status) = status
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
    else {
        return;
    };
    // A header is visible ASCII.
    let visible = !code.is_empty() && code.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let code = visible.then_some(code);
    for error in attache::storage::azure::words_for(status, code, answer) {
        let detail = error.detail();
        assert!(!detail.chars().any(char::is_control), "{detail:?}");
        assert!(detail.len() < 1000, "{} bytes", detail.len());
        assert!(!detail.contains("sig="), "{detail:?}");
    }
});
