//! The command line, and which rooms run in this process. No logic of its own.

mod authority;
mod fake_nodes;
mod parts;
mod pod_ranges;
mod server;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// Less memory and steadier latency than the system's under many small documents on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A whole cloud-native platform in one binary.
#[derive(Debug, Parser)]
#[command(name = "coracle", version, disable_help_subcommand = true)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve the Kubernetes API: the control plane, without a node.
    Server(server::Arguments),
    /// Play nodes that run nothing and say they do, for trying out workloads.
    FakeNodes(fake_nodes::Arguments),
    /// Say why a pod waits: what each node refuses, and what would have to change.
    Why(why::Arguments),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| "warn,coracle=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match command.verb {
        Verb::Server(arguments) => server::run(arguments),
        Verb::FakeNodes(arguments) => fake_nodes::run(arguments),
        Verb::Why(arguments) => why::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
