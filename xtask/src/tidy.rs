//! The rules of the source that no compiler or linter holds: sizes, file headers, forbidden words, where `unsafe` may
//! stand, attributes that silence a lint, and paths that lead out of the repository.
//!
//! What a rule finds is an *offence*, unless the table of exceptions names it with a reason. An exception that excuses
//! nothing is an offence too, so the table can only shrink. The rules are pure functions of the file's text; only
//! [`load`] touches the disk. Tests are held to every rule but the sizes. Code inside macro calls is read as tokens:
//! its functions are not measured.

mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::tidy_exceptions::{EXCEPTIONS, Exception};

/// What holds no source of ours; in a linked work tree `.git` is a file.
const LEFT_OUT: [&str; 2] = [".git", "target"];

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path from the top of the repository, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is test code, by where it stands.
    fn is_test(&self) -> bool {
        let mut folders: Vec<&str> = self.path.split('/').collect();
        let name = folders.pop().unwrap_or_default();
        name == "tests.rs" || folders.contains(&"tests") || folders.contains(&"chaos-tests")
    }
}

/// A rule of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A function longer than 70 lines.
    FunctionSize,
    /// A file longer than 600 lines.
    FileSize,
    /// A file that does not open with `//!`.
    Opening,
    /// A word that marks unfinished or unsound work.
    Word,
    /// `unsafe` in a file that is not one of the two.
    Unsafe,
    /// An attribute that silences a lint without expecting it.
    Allow,
    /// A path that leads out of the repository.
    OutsidePath,
    /// A Rust file that does not parse.
    Syntax,
}

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    /// The file.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The rule broken.
    pub(crate) rule: Rule,
    /// The name of what breaks it: a function, a word, a path.
    pub(crate) name: String,
    /// What is wrong, for a person.
    pub(crate) what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Holds every file below `root` to every rule.
///
/// # Errors
/// When a file cannot be read, or any rule is broken; each offence has been printed.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let files = load(root)?;
    let complaints = complaints(&files, EXCEPTIONS);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} places break a rule of the source", complaints.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

/// Offences that no exception names, and exceptions that name no offence.
fn complaints(files: &[SourceFile], exceptions: &[Exception]) -> Vec<String> {
    let offences: Vec<Offence> = files.iter().flat_map(rules::check).collect();
    let excused = |offence: &&Offence| exceptions.iter().any(|exception| exception.names(offence));
    let stale = |exception: &&Exception| !offences.iter().any(|offence| exception.names(offence));
    let open = offences
        .iter()
        .filter(|offence| !excused(offence))
        .map(Offence::to_string);
    let unused = exceptions.iter().filter(stale).map(Exception::to_string);
    open.chain(unused).collect()
}

/// Reads every text file below `root`, by path; files that are not UTF-8 hold no text and are left out.
fn load(root: &Path) -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(SourceFile { path: name, text });
            }
        }
    }
    Ok(())
}
