//! The binary `attache`: the HTTP server and the command line. See `attache --help`.

mod allocator;
mod api;
mod app;
mod audit;
mod auth;
mod backup;
mod cli;
mod client;
mod connection;
mod cors;
mod deliver;
mod disposition;
mod extract;
mod form;
mod framing;
mod limits;
mod otlp;
mod outgoing;
mod readiness;
mod reload;
mod respond;
mod telemetry;
mod tls;
mod upload;
mod web;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> std::process::ExitCode {
    allocator::keep_pages_small();
    cli::main()
}
