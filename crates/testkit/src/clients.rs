//! Real clients, as `make tools` installed them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// kubectl, Helm and Python, bound to one cluster and with a home directory of their own.
pub struct Clients {
    tools: PathBuf,
    /// The directory of the built binary, so that `coracle` is found as kubectl is.
    binary: Option<PathBuf>,
    pub kubeconfig: PathBuf,
    home: TempDir,
}

impl Clients {
    pub fn new(kubeconfig: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        Self { tools: tools(), binary: None, kubeconfig: kubeconfig.to_owned(), home }
    }

    /// With `coracle` beside them.
    pub fn with_binary(self, binary: &Path) -> Self {
        Self { binary: binary.parent().map(Path::to_owned), ..self }
    }

    /// A command that finds the tools on its path and the cluster in its environment.
    pub fn command(&self, program: &str) -> Command {
        let known = std::env::var_os("PATH").unwrap_or_default();
        let own = [Some(self.tools.clone()), Some(self.tools.join("python/bin")), self.binary.clone()];
        let path = own.into_iter().flatten().chain(std::env::split_paths(&known));
        let mut command = Command::new(program);
        command
            .env("PATH", std::env::join_paths(path).expect("no directory has a colon in its name"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home())
            .env("TZ", "UTC")
            .current_dir(self.home());
        command
    }

    /// Runs `kubectl`; panics with its output where it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "")
    }

    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let kubectl = self.tools.join("kubectl");
        let output = run(self.command(&kubectl.display().to_string()).args(arguments), input);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = process.stdin.take().expect("stdin is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = process.wait_with_output().expect("the command ends");
    writer.join().expect("the input is written");
    output
}

fn tools() -> PathBuf {
    let named = std::env::var_os("CORACLE_TOOLS").map(PathBuf::from);
    let default = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/coracle/tools");
    let directory = named.unwrap_or_else(default);
    assert!(directory.join("kubectl").is_file(), "no kubectl in {}: run `make tools`", directory.display());
    directory
}
