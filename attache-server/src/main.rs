//! attache-server
fn main() {}
