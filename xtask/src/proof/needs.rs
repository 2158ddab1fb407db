//! What a proof needs of the machine: looked for, and brought where that is possible.
//!
//! Programs go to `target/tools`, in the version named here; nothing is installed for the user. Components belong to the toolchain, where
//! only rustup can put them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::shell::{Invocation, TOOLS};

#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// The nightly toolchain.
    Nightly,
    /// A component of it.
    Component(&'static str),
    /// A program that cargo installs.
    Program {
        name: &'static str,
        version: &'static str,
    },
    /// A C++ compiler.
    Compiler,
}

impl Need {
    pub(super) const fn program(name: &'static str, version: &'static str) -> Need {
        Need::Program { name, version }
    }

    /// Sees to it that it is there.
    ///
    /// # Errors
    /// It is not and could not be brought: the reason, for the one line that says so.
    pub(super) fn provide(self, root: &Path) -> Result<(), String> {
        match self {
            Need::Nightly => starts(root, "rustc", &["+nightly", "--version"])
                .then_some(())
                .ok_or(
                    "there is no nightly toolchain (rustup toolchain install nightly)".to_owned(),
                ),
            Need::Component(name) => component(root, name),
            Need::Program { name, version } => program(root, name, version),
            Need::Compiler => starts(root, "c++", &["--version"])
                .then_some(())
                .ok_or("there is no C++ compiler for libFuzzer".to_owned()),
        }
    }
}

fn component(root: &Path, name: &str) -> Result<(), String> {
    let rustup = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command
            .args(["component"])
            .args(arguments)
            .args(["--toolchain", "nightly"])
            .current_dir(root);
        command
    };
    let listed = rustup(&["list", "--installed"]).output();
    let listed = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
    let is_there = |listed: String| listed.lines().any(|line| line.starts_with(name));
    if listed.is_ok_and(is_there) {
        return Ok(());
    }
    println!("installing: rustup component add --toolchain nightly {name}");
    let added = rustup(&["add", name]).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!(
        "the nightly toolchain has no {name}, and rustup could not add it"
    ))
}

fn program(root: &Path, name: &str, version: &str) -> Result<(), String> {
    let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
    let known = Invocation::cargo(&["--list"]).with_tools(root).output(root);
    let is_it = |line: &str| line.split_whitespace().next() == Some(subcommand);
    if known.is_ok_and(|known| known.lines().any(is_it)) {
        return Ok(());
    }
    println!("installing: {name} {version} in {TOOLS}, which takes minutes");
    let wanted = format!("{name}@{version}");
    Invocation::cargo(&["install", "--locked", "--root", TOOLS, &wanted])
        .environment(&[("CARGO_TARGET_DIR", "target/tools/build")])
        .run(root)
        .map_err(|error| format!("{name} is not there and could not be installed: {error:#}"))
}

fn starts(root: &Path, program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let silent = command
        .args(arguments)
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// The triple of this machine.
pub(super) fn host(root: &Path) -> anyhow::Result<String> {
    let shown = Command::new("rustc")
        .arg("-vV")
        .current_dir(root)
        .output()?;
    let text = String::from_utf8(shown.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}
