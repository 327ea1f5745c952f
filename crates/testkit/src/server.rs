//! `coracle server` as a process of its own, on a port and in a directory of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tempfile::TempDir;

use crate::Clients;

/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; killed, and its directory removed, when dropped.
pub struct Server {
    binary: PathBuf,
    directory: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
    /// `127.0.0.1:port`
    pub address: String,
}

impl Server {
    /// Starts the API server of `binary` (`env!("CARGO_BIN_EXE_coracle")`), and nothing beside it that would change objects;
    /// waits until it says that it is ready.
    pub fn start(binary: impl AsRef<Path>) -> Self {
        Self::start_with(binary, &[])
    }

    pub fn start_with(binary: impl AsRef<Path>, arguments: &[&str]) -> Self {
        Self::start_whole(binary, &[&["--without=controllers", "--without=scheduler"], arguments].concat())
    }

    /// The same with every part that the binary has.
    pub fn start_whole(binary: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut server = Self {
            binary: binary.as_ref().to_owned(),
            directory: tempfile::tempdir().expect("a temporary directory"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            process: None,
            address: "127.0.0.1:0".to_owned(),
        };
        server.spawn();
        server
    }

    fn spawn(&mut self) {
        let port = self.address.rsplit(':').next().expect("an address has a port");
        let mut process = Command::new(&self.binary)
            .arg("server")
            .args(["--api-port", port, "--bind-address", "127.0.0.1"])
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(&self.arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary starts");
        let lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                match line.strip_prefix("coracle: ready at https://").and_then(|rest| rest.split(' ').next()) {
                    Some(address) => drop(ready.send(address.to_owned())),
                    None => eprintln!("server: {line}"),
                }
            }
        });
        self.process = Some(process);
        self.address = is_ready.recv_timeout(START_TIMEOUT).expect("the server gets ready");
    }

    /// kill -9, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server can be killed");
            process.wait().expect("the server ends");
        }
    }

    /// SIGTERM; the exit status must be 0.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        let status = Command::new("kill").arg(process.id().to_string()).status().expect("kill runs");
        assert!(status.success());
        let status = process.wait().expect("the server ends");
        assert!(status.success(), "{status}");
    }

    /// Starts again on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub fn clients(&self) -> Clients {
        Clients::new(&self.kubeconfig()).with_binary(&self.binary)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
