//! `coracle why pod/NAME`: why a pod waits, by the rules that place pods, over what the user may read.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use apiserver::kubeconfig;
use clap::{Args, ValueEnum};
use client::{Caches, Key, Requests};
use scheduler::{core::Core, explain, run::TOPICS};
use stdx::{Clock, SeededRandom, SystemClock};
use tokio::{sync::Notify, time::timeout};

/// How long the server may take to show what there is.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct Arguments {
    /// What to explain: pod/NAME
    #[arg(value_name = "KIND/NAME", value_parser = parse_pod)]
    object: String,
    /// Its namespace [default: the context's]
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to answer
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// The kubeconfig file [default: as kubectl finds it]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// `pod/web-1`, as kubectl understands it.
fn parse_pod(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some(("pod" | "pods" | "po", name)) if !name.is_empty() && !name.contains('/') => Ok(name.to_owned()),
        _ => Err("it is not pod/NAME".to_owned()),
    }
}

#[tokio::main(flavor = "current_thread")]
pub async fn run(arguments: Arguments) -> Result<()> {
    let file = match &arguments.kubeconfig {
        Some(file) => file.clone(),
        None => kubeconfig::path(std::env::var_os("KUBECONFIG").as_deref(), std::env::var_os("HOME").as_deref())?,
    };
    let client =
        client::remote(&file, arguments.context.as_deref()).await.with_context(|| file.display().to_string())?;
    let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let (caches, _following) = Caches::start(&Requests::new(client, "coracle"), TOPICS);
    if timeout(PATIENCE, caches.synced(TOPICS)).await.is_err() {
        bail!("the cluster did not show all of what places pods within {PATIENCE:?}: {TOPICS:?}");
    }
    let mut core = Core::new(Arc::new(SeededRandom::new(0)));
    let news = Arc::new(Notify::new());
    for topic in TOPICS {
        core.apply(&caches.subscribe(*topic, &news).changes(), SystemClock.now());
    }
    let key = Key::new(&namespace, &arguments.object);
    let Some(pod) = caches.pods.get(&key) else { bail!("pods \"{}\" not found", arguments.object) };
    let explanation = core.explain(&pod);
    let text = match arguments.output {
        Output::Text => explain::render(&explanation),
        Output::Json => serde_json::to_string_pretty(&explanation)? + "\n",
    };
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
