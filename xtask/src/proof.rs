//! Long proofs that need more than cargo: fuzzing, sanitizers, lints of the dependencies, mutants, coverage.
//!
//! Nothing is installed here. What a machine lacks is said in one line, `skipped: …`, with the command that brings it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::shell::Invocation;

/// A command that needs something of the machine.
#[derive(Clone, Copy, Debug)]
struct Proof {
    name: &'static str,
    /// Succeeds if it can run here.
    probe: &'static [&'static str],
    /// It builds the standard library, whose source it needs.
    source: bool,
    /// How to get what is missing.
    hint: &'static str,
    environment: &'static [(&'static str, &'static str)],
    run: &'static [&'static str],
}

const PROOFS: &[Proof] = &[
    Proof {
        name: "tsan",
        probe: &["+nightly", "--version"],
        source: true,
        hint: "rustup component add --toolchain nightly rust-src",
        environment: &[
            ("RUSTFLAGS", "-Zsanitizer=thread"),
            ("CARGO_TARGET_DIR", "target/tsan"),
        ],
        run: &[
            "+nightly",
            "test",
            "-Zbuild-std",
            "--target",
            "x86_64-unknown-linux-gnu",
            "-p",
            "mq-core",
            "-p",
            "mq",
            "--lib",
            "--tests",
        ],
    },
    Proof {
        name: "miri",
        probe: &["+nightly", "miri", "--version"],
        source: false,
        hint: "rustup component add --toolchain nightly miri",
        environment: &[
            ("MIRIFLAGS", "-Zmiri-many-seeds=0..64"),
            ("CARGO_TARGET_DIR", "target/miri"),
        ],
        run: &["+nightly", "miri", "test", "-p", "mq-core", "--lib", "ring"],
    },
    Proof {
        name: "deny",
        probe: &["deny", "--version"],
        source: false,
        hint: "cargo install cargo-deny",
        environment: &[],
        run: &["deny", "check"],
    },
    Proof {
        name: "machete",
        probe: &["machete", "--version"],
        source: false,
        hint: "cargo install cargo-machete",
        environment: &[],
        run: &["machete"],
    },
    Proof {
        name: "mutants",
        probe: &["mutants", "--version"],
        source: false,
        hint: "cargo install cargo-mutants",
        environment: &[],
        run: &[
            "mutants",
            "-p",
            "mq-persistence",
            "--file",
            "mq-persistence/src/log.rs",
            "--file",
            "mq-persistence/src/recovery/**",
            "--file",
            "mq-persistence/src/frame/**",
            "--output",
            "target/mutants",
        ],
    },
    Proof {
        name: "coverage",
        probe: &["+nightly", "llvm-cov", "--version"],
        source: false,
        hint: "cargo install cargo-llvm-cov; rustup component add --toolchain nightly llvm-tools",
        environment: &[],
        run: &[
            "+nightly",
            "llvm-cov",
            "-p",
            "mq-persistence",
            "--branch",
            "--summary-only",
        ],
    },
];

/// The names of the proofs, for the usage text.
pub(crate) fn is_one(name: &str) -> bool {
    PROOFS.iter().any(|proof| proof.name == name)
}

/// Runs one of them with more arguments.
///
/// # Errors
/// It failed. That it cannot run here is no error.
pub(crate) fn run(root: &Path, name: &str, more: &[&str]) -> anyhow::Result<()> {
    let proof = PROOFS.iter().find(|proof| proof.name == name);
    let proof = proof.with_context(|| format!("there is no proof called {name}"))?;
    let is_there = Invocation::cargo(proof.probe).succeeds(root);
    if !is_there || (proof.source && !has_source()) {
        println!("skipped: {name}: not installed ({})", proof.hint);
        return Ok(());
    }
    Invocation::cargo(proof.run)
        .arguments(more)
        .environment(proof.environment)
        .run(root)
}

/// Whether the nightly toolchain has the source of the standard library.
fn has_source() -> bool {
    let shown = Command::new("rustc")
        .args(["+nightly", "--print", "sysroot"])
        .output();
    let sysroot = shown
        .ok()
        .and_then(|shown| String::from_utf8(shown.stdout).ok());
    sysroot.is_some_and(|path| {
        Path::new(path.trim())
            .join("lib/rustlib/src/rust/library")
            .is_dir()
    })
}

/// Coverage of edges for libFuzzer, which stable compilers can do, too.
const COVERAGE_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing";
const FUZZ: &str = "fuzz/Cargo.toml";

/// Runs fuzz targets for some minutes each: `[--minutes M] [TARGET …]`, all of them if none is named. What is found stays in
/// `target/fuzz`.
///
/// # Errors
/// A target failed; its input is named.
pub(crate) fn fuzz(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let (minutes, names) = match arguments {
        ["--minutes", minutes, names @ ..] => (minutes.parse().context("--minutes")?, names),
        names => (10_u64, names),
    };
    if !starts("c++", root) {
        println!("skipped: fuzz: there is no C++ compiler for libFuzzer here");
        return Ok(());
    }
    let all = targets(root)?;
    for name in names {
        if !all.iter().any(|target| target == name) {
            bail!("no target is called {name}; there are {}", all.join(", "));
        }
    }
    let host = host(root)?;
    Invocation::cargo(&[
        "build",
        "--release",
        "--manifest-path",
        FUZZ,
        "--target",
        &host,
    ])
    .environment(&[("RUSTFLAGS", COVERAGE_FLAGS)])
    .run(root)?;
    for target in &all {
        if names.is_empty() || names.contains(&target.as_str()) {
            fuzz_one(root, &host, target, minutes)?;
        }
    }
    Ok(())
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

fn fuzz_one(root: &Path, host: &str, target: &str, minutes: u64) -> anyhow::Result<()> {
    let found = root.join("target/fuzz").join(target);
    std::fs::create_dir_all(&found)?;
    println!("fuzz: {target}: {minutes} minutes");
    let program = root
        .join("fuzz/target")
        .join(host)
        .join("release")
        .join(target);
    let status = Command::new(program)
        .arg(&found)
        .arg(root.join("fuzz/corpus").join(target))
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-artifact_prefix={}/failed-", found.display()))
        // A length that is believed shows as memory.
        .args(["-rss_limit_mb=1024", "-malloc_limit_mb=256"])
        .args(["-timeout=30", "-max_len=4096", "-print_final_stats=1"])
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("fuzz: {target}: {status}; the input is target/fuzz/{target}/failed-…");
    }
    Ok(())
}

fn starts(program: &str, root: &Path) -> bool {
    let mut command = Command::new(program);
    let silent = command
        .arg("--version")
        .current_dir(root)
        .stdout(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// The triple of this machine.
fn host(root: &Path) -> anyhow::Result<String> {
    let shown = Command::new("rustc")
        .arg("-vV")
        .current_dir(root)
        .output()?;
    let text = String::from_utf8(shown.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}
