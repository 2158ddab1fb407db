//! libFuzzer on everything that reads bytes; needs a C++ compiler and no nightly.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{Done, needs};
use crate::shell::Invocation;

pub(super) const HELP: &str = "\
usage: cargo xtask fuzz [--minutes M] [--keep] [TARGET ...]

libFuzzer on everything that reads bytes: the files of a store, lines of the control socket, what people type, commands in any order. All
targets if none is named, one after the other. What was tried stays in target/fuzz/TARGET and is where the next run begins. A target may
use 1 GiB, and no single allocation 256 MiB: a length that is believed is a failure.

  --minutes M   for each target; default 3
  --keep        add to fuzz/corpus/TARGET what reaches new code, smallest inputs first, at most 200 files a target: they are tests of ci
";

/// Coverage of edges for libFuzzer, which stable compilers can do, too.
const COVERAGE_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing";
const FUZZ: &str = "fuzz/Cargo.toml";
/// Files of a target's corpus, and the size of one, in bytes.
const CORPUS_LEN_MAX: usize = 200;
const CORPUS_FILE_SIZE_MAX: u64 = 4096;

struct Order<'a> {
    minutes: u64,
    keep: bool,
    names: Vec<&'a str>,
}

pub(super) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    let order = parse(arguments)?;
    let all = targets(root)?;
    for name in &order.names {
        if !all.iter().any(|target| target == name) {
            bail!("no target is called {name}; there are {}", all.join(", "));
        }
    }
    let host = needs::host(root)?;
    Invocation::cargo(&["build", "--release", "--manifest-path", FUZZ])
        .arguments(&["--target", &host])
        .environment(&[("RUSTFLAGS", COVERAGE_FLAGS)])
        .run(root)?;
    let mut tried = 0;
    for target in &all {
        if order.names.is_empty() || order.names.contains(&target.as_str()) {
            let fuzzed = Fuzzed::new(root, &host, target);
            fuzzed.run(order.minutes)?;
            if order.keep {
                fuzzed.keep()?;
            }
            tried += 1;
        }
    }
    Ok(Done::Passed(format!(
        "{tried} targets, {} minutes each, none failed",
        order.minutes
    )))
}

fn parse<'a>(arguments: &[&'a str]) -> anyhow::Result<Order<'a>> {
    let mut order = Order {
        minutes: 3,
        keep: false,
        names: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--minutes" => {
                let minutes = words.next().context("--minutes takes a number")?;
                order.minutes = minutes.parse().context("--minutes takes a number")?;
            }
            "--keep" => order.keep = true,
            name => order.names.push(name),
        }
    }
    Ok(order)
}

/// The targets, by their files.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(root.join("fuzz/fuzz_targets"))? {
        let path = file?.path();
        let stem = path.file_stem().context("a file without a name")?;
        names.push(stem.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A target and its folders.
struct Fuzzed<'a> {
    root: &'a Path,
    name: &'a str,
    program: PathBuf,
    /// What runs on this machine have found.
    found: PathBuf,
    /// What every checkout has.
    corpus: PathBuf,
}

impl Fuzzed<'_> {
    fn new<'a>(root: &'a Path, host: &str, name: &'a str) -> Fuzzed<'a> {
        let built = root.join("fuzz/target").join(host).join("release");
        Fuzzed {
            root,
            name,
            program: built.join(name),
            found: root.join("target/fuzz").join(name),
            corpus: root.join("fuzz/corpus").join(name),
        }
    }

    fn run(&self, minutes: u64) -> anyhow::Result<()> {
        let Fuzzed { name, found, .. } = self;
        std::fs::create_dir_all(found)?;
        println!("fuzz: {name}: {minutes} minutes");
        let status = Command::new(&self.program)
            .args([found, &self.corpus])
            .arg(format!("-max_total_time={}", minutes * 60))
            .arg(format!("-artifact_prefix={}/failed-", found.display()))
            // A length that is believed shows as memory.
            .args(["-rss_limit_mb=1024", "-malloc_limit_mb=256"])
            .args(["-timeout=30", "-max_len=4096", "-print_final_stats=1"])
            .current_dir(self.root)
            .status()?;
        if !status.success() {
            bail!("fuzz: {name}: {status}; the input is target/fuzz/{name}/failed-…");
        }
        Ok(())
    }

    /// Adds inputs that reach what the corpus does not: libFuzzer puts into an empty folder as few of them as reach the same.
    fn keep(&self) -> anyhow::Result<()> {
        let merged = self.root.join("target/fuzz-merged").join(self.name);
        if merged.exists() {
            std::fs::remove_dir_all(&merged)?;
        }
        std::fs::create_dir_all(&merged)?;
        std::fs::create_dir_all(&self.corpus)?;
        let status = Command::new(&self.program)
            .args(["-set_cover_merge=1", "-timeout=30", "-verbosity=0"])
            .args([&merged, &self.corpus, &self.found])
            .current_dir(self.root)
            .status()?;
        if !status.success() {
            bail!("fuzz: {}: merging: {status}", self.name);
        }
        let mut have = self.corpus_names()?;
        let mut found = Vec::new();
        for file in std::fs::read_dir(&merged)? {
            let file = file?;
            found.push((file.metadata()?.len(), file.file_name()));
        }
        found.sort();
        let before = have.len();
        for (size, name) in found {
            if have.len() >= CORPUS_LEN_MAX || size > CORPUS_FILE_SIZE_MAX {
                break; // the rest is larger still
            }
            std::fs::copy(merged.join(&name), self.corpus.join(&name))?;
            have.insert(name);
        }
        println!(
            "fuzz: {}: {before} files before, {} now",
            self.name,
            have.len()
        );
        Ok(())
    }

    fn corpus_names(&self) -> anyhow::Result<BTreeSet<std::ffi::OsString>> {
        let files = std::fs::read_dir(&self.corpus)?;
        files.map(|file| Ok(file?.file_name())).collect()
    }
}
