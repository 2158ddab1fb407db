//! Reads what LLVM counted (`llvm-cov export`), and finds the arms for errors in it.
//!
//! A region begins at each `?` and each arm of a match; one that was never entered and stands for an error is an arm that no test has taken.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// What was counted, by file, with paths from the top of the repository.
pub(super) struct Report {
    files: BTreeMap<String, File>,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    all: u64,
    reached: u64,
}

struct File {
    lines: Counted,
    regions: Counted,
    branches: Counted,
    /// Where regions begin that were never entered: line and column, from 1.
    never: Vec<(usize, usize)>,
    source: String,
}

/// A place where an error could have been passed on or made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arm {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Arm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "never: {}:{}: {}", self.file, self.line, self.text)
    }
}

impl Report {
    /// Reads an export; the sources are those below `root` now.
    pub(super) fn read(json: &str, root: &Path) -> anyhow::Result<Report> {
        let export: Value = serde_json::from_str(json)?;
        let files = export.pointer("/data/0/files").and_then(Value::as_array);
        let mut report = Report {
            files: BTreeMap::new(),
        };
        for file in files.context("the export names no files")? {
            let name = file.pointer("/filename").and_then(Value::as_str);
            let path = Path::new(name.context("a file without a name")?);
            let Ok(short) = path.strip_prefix(root) else {
                continue;
            };
            let source = std::fs::read_to_string(path)?;
            let short = short.to_string_lossy().into_owned();
            report.files.insert(short, File::read(file, source));
        }
        Ok(report)
    }

    /// One line for each package.
    pub(super) fn packages(&self) -> String {
        let mut packages: BTreeMap<&str, [Counted; 3]> = BTreeMap::new();
        for (name, file) in &self.files {
            let Some((package, _)) = name.split_once("src/") else {
                continue;
            };
            let package = package.strip_suffix('/').unwrap_or("mq");
            let sum = packages.entry(package).or_default();
            for (sum, one) in sum
                .iter_mut()
                .zip([file.lines, file.regions, file.branches])
            {
                sum.all += one.all;
                sum.reached += one.reached;
            }
        }
        let rows = packages.iter().map(|(package, [lines, regions, branches])| {
            format!("{package:<16} lines {lines:>18}  regions {regions:>18}  branches {branches:>18}\n")
        });
        rows.collect()
    }

    /// The arms for errors below a folder that were never taken.
    pub(super) fn untaken_arms(&self, folder: &str) -> Vec<Arm> {
        let below = self
            .files
            .iter()
            .filter(|(name, _)| name.starts_with(folder));
        let arms = below.flat_map(|(name, file)| {
            file.arms().into_iter().map(move |(line, text)| Arm {
                file: name.clone(),
                line,
                text,
            })
        });
        arms.collect()
    }
}

impl File {
    fn read(file: &Value, source: String) -> File {
        let counted = |kind: &str| {
            let number = |what: &str| {
                let found = file.pointer(&format!("/summary/{kind}/{what}"));
                found.and_then(Value::as_u64).unwrap_or(0)
            };
            Counted {
                all: number("count"),
                reached: number("covered"),
            }
        };
        let segments = file.pointer("/segments").and_then(Value::as_array);
        let never = segments.into_iter().flatten().filter_map(never_entered);
        File {
            lines: counted("lines"),
            regions: counted("regions"),
            branches: counted("branches"),
            never: never.collect(),
            source,
        }
    }

    /// Lines with an arm for an error that was never taken. Tests in the same file do not count.
    fn arms(&self) -> Vec<(usize, String)> {
        let lines: Vec<&str> = self.source.lines().collect();
        let tests = lines.iter().position(|line| line.trim() == "#[cfg(test)]");
        let mut arms: Vec<(usize, String)> = Vec::new();
        for &(line, column) in &self.never {
            let Some(text) = lines.get(line.saturating_sub(1)) else {
                continue;
            };
            if tests.is_some_and(|tests| line > tests) || arms.last().is_some_and(|it| it.0 == line)
            {
                continue;
            }
            let rest: String = text.chars().skip(column.saturating_sub(1)).collect();
            if rest.starts_with('?')
                || ["Err(", "Error", "map_err"]
                    .iter()
                    .any(|it| rest.contains(it))
            {
                arms.push((line, text.trim().to_owned()));
            }
        }
        arms
    }
}

/// `[line, column, count, has_count, is_region_entry, is_gap]`: where a region begins that nothing entered.
fn never_entered(segment: &Value) -> Option<(usize, usize)> {
    let number = |at: usize| segment.get(at).and_then(Value::as_u64);
    let flag = |at: usize| segment.get(at).and_then(Value::as_bool) == Some(true);
    let is_never = number(2)? == 0 && flag(3) && flag(4) && !flag(5);
    let place = (
        usize::try_from(number(0)?).ok()?,
        usize::try_from(number(1)?).ok()?,
    );
    is_never.then_some(place)
}

impl fmt::Display for Counted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_mille = (self.reached * 1000).checked_div(self.all).unwrap_or(1000);
        let text = format!(
            "{} of {} ({}.{} %)",
            self.reached,
            self.all,
            per_mille / 10,
            per_mille % 10
        );
        out.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_that_never_passed_an_error_on_is_an_arm_and_other_regions_are_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("disk/src")).unwrap();
        let path = folder.path().join("disk/src/log.rs");
        let source = "fn a() {\n    write()?;\n    sync()?;\n    if x { y() }\n    Err(Full)\n}\n";
        std::fs::write(&path, source).unwrap();
        let json = serde_json::json!({"data": [{"files": [{
            "filename": path,
            "summary": {"lines": {"count": 8, "covered": 6}, "branches": {"count": 2, "covered": 1}},
            "segments": [
                [1, 1, 7, true, true, false],
                [2, 12, 0, true, true, false],
                [3, 11, 2, true, true, false],
                [4, 10, 0, true, true, false],
                [5, 5, 0, true, true, false],
            ],
        }]}]});
        let report = Report::read(&json.to_string(), folder.path()).unwrap();
        let arms = report.untaken_arms("disk/src");
        let shown: Vec<String> = arms.iter().map(Arm::to_string).collect();
        assert_eq!(
            shown,
            [
                "never: disk/src/log.rs:2: write()?;",
                "never: disk/src/log.rs:5: Err(Full)"
            ]
        );
        let packages = report.packages();
        assert!(
            packages.starts_with("disk ") && packages.contains("6 of 8 (75.0 %)"),
            "{packages}"
        );
    }
}
