//! The programs of each side and how they are started.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_yaml_ng::Value;

/// A program to start.
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Where the programs of the peer are.
#[derive(Debug, Clone)]
pub struct Peer {
    pub apiserver: PathBuf,
    pub etcd: PathBuf,
}

/// Coracle at this port, with its state in `state`; `parts` says what it is to do beside serving.
pub fn coracle(program: &Path, (state, kubeconfig): (&Path, &Path), port: u16, parts: &[String]) -> Recipe {
    let mut arguments = vec![
        "server".to_owned(),
        format!("--data-dir={}", state.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--api-port={port}"),
    ];
    arguments.extend_from_slice(parts);
    Recipe { program: program.to_owned(), arguments }
}

/// Nodes that run nothing, in whatever cluster.
pub fn fake_nodes(program: &Path, kubeconfig: &Path, (prefix, count): (&str, usize)) -> Recipe {
    let arguments = vec![
        "fake-nodes".to_owned(),
        count.to_string(),
        format!("--prefix={prefix}"),
        format!("--kubeconfig={}", kubeconfig.display()),
    ];
    Recipe { program: program.to_owned(), arguments }
}

/// A stock etcd and a stock kube-apiserver at this port.
pub fn apiserver(programs: &Peer, state: &Path, pki: &Path, port: u16) -> Result<Vec<Recipe>> {
    let (client, member) = (free_port()?, free_port()?);
    let store = format!("http://127.0.0.1:{client}");
    let neighbour = format!("http://127.0.0.1:{member}");
    let etcd = vec![
        format!("--data-dir={}", state.join("etcd").display()),
        format!("--listen-client-urls={store}"),
        format!("--advertise-client-urls={store}"),
        format!("--listen-peer-urls={neighbour}"),
        format!("--initial-advertise-peer-urls={neighbour}"),
        format!("--initial-cluster=default={neighbour}"),
    ];
    let file = |name: &str| pki.join(name).display().to_string();
    let apiserver = vec![
        format!("--etcd-servers={store}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
    ];
    Ok(vec![
        Recipe { program: programs.etcd.clone(), arguments: etcd },
        Recipe { program: programs.apiserver.clone(), arguments: apiserver },
    ])
}

/// A stock kube-scheduler.
pub fn scheduler(program: &Path, kubeconfig: &Path) -> Result<Recipe> {
    Ok(Recipe { program: program.to_owned(), arguments: of_a_client(kubeconfig)? })
}

/// A stock kube-controller-manager.
pub fn controllers(program: &Path, kubeconfig: &Path, pki: &Path) -> Result<Recipe> {
    let mut arguments = of_a_client(kubeconfig)?;
    let file = |name: &str| pki.join(name).display().to_string();
    arguments.push(format!("--root-ca-file={}", file("ca.crt")));
    arguments.push(format!("--service-account-private-key-file={}", file("sa.key")));
    Ok(Recipe { program: program.to_owned(), arguments })
}

/// What the stock parts have in common; their own limits of requests are lifted.
fn of_a_client(kubeconfig: &Path) -> Result<Vec<String>> {
    let kubeconfig = kubeconfig.display();
    Ok(vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        format!("--secure-port={}", free_port()?),
        "--kube-api-qps=5000".to_owned(),
        "--kube-api-burst=5000".to_owned(),
    ])
}

/// Copies a kubeconfig for the same user of a server at another port of this machine.
pub fn copy_kubeconfig(from: &Path, to: &Path, port: u16) -> Result<()> {
    let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(from)?)?;
    let server = config["clusters"][0]["cluster"].get_mut("server").context("no server in the kubeconfig")?;
    *server = format!("https://127.0.0.1:{port}").into();
    Ok(std::fs::write(to, serde_yaml_ng::to_string(&config)?)?)
}

/// A port nobody listens on now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
