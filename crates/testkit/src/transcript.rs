//! Transcripts: shell sessions as data. A line `$ COMMAND` is run by bash, what follows is what it must
//! print; `[N]` as the last line is its exit status where that is not 0. `UPDATE_EXPECT=1` rewrites them.
//!
//! What differs from run to run is replaced before comparing: ages, times, revisions, uids, the address.
//! The files beside the transcript are in the directory `$CASES`.

use std::{fmt::Write, fs, path::Path, sync::LazyLock};

use regex::Regex;

use crate::{Clients, clients::run};

/// A command that takes longer hangs.
const STEP_SECONDS: &str = "60";

/// One command of a transcript and what it prints.
struct Step {
    /// Comments and blank lines before the command.
    preamble: String,
    command: String,
    expect: String,
}

/// The tests of a folder of transcripts, each played by the caller's `play(&Path)`. Whatever else lies in the folder stands in
/// `beside`: a transcript that is in no list is never played.
#[macro_export]
macro_rules! transcripts {
    ($folder:literal, beside $beside:expr; $($name:ident)*) => {
        const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/", $folder);

        $(#[test]
        fn $name() {
            let folder = ::std::path::Path::new(FOLDER).canonicalize().unwrap();
            play(&folder.join(concat!(stringify!($name), ".txt")));
        })*

        #[test]
        fn every_transcript_is_played() {
            let beside: &[&str] = &$beside;
            let known: Vec<&str> = [$(concat!(stringify!($name), ".txt")),*].iter().chain(beside).copied().collect();
            for file in ::std::fs::read_dir(FOLDER).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&&*name), "{name} is in no list");
            }
        }
    };
}

/// Plays a transcript against a server; panics with the difference.
pub fn play(path: &Path, clients: &Clients) {
    compare(path, clients, filter);
}

/// Like [`play`], of a cluster whose controllers give names: those are replaced too.
pub fn play_workloads(path: &Path, clients: &Clients) {
    compare(path, clients, |text| replaced(&filter(text), &GIVEN_NAMES));
}

fn compare(path: &Path, clients: &Clients, filter: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (steps, rest) = parse(&text);
    assert!(!steps.is_empty(), "{}: no command in it", path.display());
    let mut played = String::new();
    for step in &steps {
        let mut command = clients.command("timeout");
        command.env("CASES", path.parent().expect("a transcript is in a directory"));
        // `sort` sorts everywhere alike.
        command.env("LC_ALL", "C.UTF-8");
        command.args([STEP_SECONDS, "bash", "-c", &format!("exec 2>&1\n{}", step.command)]);
        let output = run(&mut command, "");
        let mut printed = filter(&String::from_utf8_lossy(&output.stdout));
        // Blank lines at its end are not to be told from those between steps.
        printed.truncate(printed.trim_end().len());
        if !printed.is_empty() {
            printed.push('\n');
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => writeln!(printed, "[{code}]").unwrap(),
            None => printed.push_str("[killed]\n"),
        }
        played.push_str(&step.preamble);
        for (index, line) in step.command.lines().enumerate() {
            writeln!(played, "{} {line}", if index == 0 { "$" } else { ">" }).unwrap();
        }
        played.push_str(&printed);
        // The blank lines after a step are the writer's.
        let told = step.expect.trim_end_matches('\n');
        let blank = step.expect.len() - told.len() - usize::from(!told.is_empty());
        played.push_str(&"\n".repeat(blank));
    }
    played.push_str(&rest);
    if played == text {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, played).expect("the transcript can be written");
        return;
    }
    panic!("{}: (UPDATE_EXPECT=1 rewrites it)\n{}", path.display(), difference(&text, &played));
}

fn parse(text: &str) -> (Vec<Step>, String) {
    let mut steps: Vec<Step> = Vec::new();
    let mut preamble = String::new();
    let mut in_output = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                preamble: std::mem::take(&mut preamble),
                command: command.to_owned(),
                expect: String::new(),
            });
            in_output = false;
        } else if let Some(more) =
            line.strip_prefix("> ").or((line == ">").then_some("")).filter(|_| !in_output && !steps.is_empty())
        {
            let step = steps.last_mut().expect("a step came before");
            step.command.push('\n');
            step.command.push_str(more);
        } else if line.starts_with("# ") {
            in_output = true;
            preamble.push_str(line);
            preamble.push('\n');
        } else if let Some(step) = steps.last_mut().filter(|_| preamble.is_empty()) {
            in_output = true;
            step.expect.push_str(line);
            step.expect.push('\n');
        } else {
            preamble.push_str(line);
            preamble.push('\n');
        }
    }
    (steps, preamble)
}

type Filters = LazyLock<Vec<(Regex, &'static str)>>;

fn compiled(table: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    table.iter().map(|(pattern, name)| (Regex::new(pattern).unwrap(), *name)).collect()
}

/// What no two runs have in common, and what it is shown as.
static CHANGING: Filters = LazyLock::new(|| {
    compiled(&[
        (r"127\.0\.0\.1:\d{4,5}\b", "SERVER"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UID"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC( m=\+[\d.]+)?|Z)", "TIME"),
        (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", "TIME"),
        (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", "TIME"),
        (r"/tmp/[\w./-]+", "FILE"),
        (r#"(resourceVersion[\\"]*[:=] *[\\"]*)\d+"#, "${1}REVISION"),
        (r"(Resource Version: +)\d+", "${1}REVISION"),
        (r"(Too large resource version.* current: )\d+", "${1}REVISION"),
        (r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-XXXXX"),
        (r"\b(\d+[smhd]){1,2} \(x\d+ over (\d+[smhd]){1,2}\)", "AGE"),
        // kubectl's ages, in tables whose columns are as wide as their widest cell.
        (r"(^|  )(\d+[smhd]){1,2}(  +|$)", "${1}AGE${3}"),
        (r"\bAGE  +", "AGE   "),
        (r" +$", ""),
    ])
});

/// What controllers give their pods as names: of letters that make no words.
static GIVEN_NAMES: Filters = LazyLock::new(|| {
    compiled(&[
        (r"-[bcdf-hj-np-tv-xz24-9]{8,10}-[bcdf-hj-np-tv-xz24-9]{5}\b", "-HASH-XXXXX"),
        (r"([-=])[bcdf-hj-np-tv-xz24-9]{8,10}\b", "${1}HASH"),
    ])
});

fn replaced(text: &str, filters: &Filters) -> String {
    let shown = |line: &str| {
        filters.iter().fold(line.to_owned(), |line, (pattern, name)| pattern.replace_all(&line, *name).into_owned())
    };
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

fn filter(text: &str) -> String {
    // kubectl's own log of a watch that it ends itself: there or not, as it happens.
    let is_told = |line: &&str| !(line.starts_with('E') && line.contains("] \"Failed to watch\""));
    replaced(&text.lines().filter(is_told).collect::<Vec<_>>().join("\n"), &CHANGING)
}

/// The lines that differ, each difference with a few lines before it.
fn difference(expected: &str, actual: &str) -> String {
    const CONTEXT: usize = 3;
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    // common[i][j]: the length of the longest common subsequence of the rests from i and from j.
    let mut common = vec![vec![0_u32; actual.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..actual.len()).rev() {
            common[i][j] = match expected[i] == actual[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text, mut same) = (0, 0, String::new(), 0);
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            (i, j, same) = (i + 1, j + 1, same + 1);
            continue;
        }
        for line in &expected[i - same.min(CONTEXT)..i] {
            writeln!(text, "  {line}").unwrap();
        }
        same = 0;
        if j == actual.len() || i < expected.len() && common[i + 1][j] >= common[i][j + 1] {
            writeln!(text, "- {}", expected[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "+ {}", actual[j]).unwrap();
            j += 1;
        }
    }
    text
}
