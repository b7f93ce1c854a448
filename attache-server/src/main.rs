//! The binary `attache`: the HTTP server and the command line. See `attache --help`.

mod allocator;
mod audit;
mod auth;
mod backup;
mod cli;
mod client;
mod conditional;
mod config;
mod cors;
mod deliver;
mod extract;
mod framing;
mod gate;
mod jobs;
mod net;
mod otlp;
mod readiness;
mod reload;
mod request_id;
mod respond;
mod router;
mod s3;
mod serve;
mod state;
mod telemetry;
mod threads;
mod tus;
mod upload;
mod v1;
mod web;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> std::process::ExitCode {
    allocator::keep_pages_small();
    cli::main()
}
