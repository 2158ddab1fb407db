//! What the documents and the help show is held to the program: every command line in them is one that it takes.
//!
//! Nothing is run. Placeholders such as `ID` stand for a value of their kind.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use crate::args::Command;

/// The words of the first command in a line of a shell.
pub(crate) fn words(line: &str) -> Vec<String> {
    commands(line).into_iter().next().unwrap_or_default()
}

/// The commands in a line of a shell, each as its words: enough of the grammar for what a page shows.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut is_redirection = false;
    let mut characters = line.chars().peekable();
    let end = |word: &mut Option<String>, is_redirection: &mut bool, all: &mut Vec<Vec<String>>| {
        if let Some(word) = word.take().filter(|_| !std::mem::take(is_redirection)) {
            all.last_mut().unwrap().push(word);
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let quoted = characters.by_ref().take_while(|it| *it != '\'');
                word.get_or_insert_default().extend(quoted);
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(inside) = characters.next().filter(|it| *it != '"') {
                    let is_escaped = inside == '\\'
                        && characters.peek().is_some_and(|it| "\"\\$`".contains(*it));
                    word.push(if is_escaped {
                        characters.next().unwrap()
                    } else {
                        inside
                    });
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '$' if characters.peek() == Some(&'(') => {
                let inside = characters.by_ref().take_while(|it| *it != ')');
                let word = word.get_or_insert_default();
                word.push('$');
                word.extend(inside);
            }
            '#' if word.is_none() => break,
            '|' | ';' | '&' => {
                end(&mut word, &mut is_redirection, &mut all);
                all.push(Vec::new());
            }
            '<' | '>' => {
                end(&mut word, &mut is_redirection, &mut all);
                is_redirection = true;
            }
            ' ' | '\t' => end(&mut word, &mut is_redirection, &mut all),
            _ => word.get_or_insert_default().push(character),
        }
    }
    end(&mut word, &mut is_redirection, &mut all);
    all.retain(|words| !words.is_empty());
    all
}

/// Values that stand for the placeholders of a page.
fn filled(word: &str) -> Option<String> {
    let value = match word {
        "ID" | "ID…" => "00000000-03e8-7000-8000-00001c000003",
        "JOB" => "7",
        "N" => "2",
        "…" => return None,
        other => other,
    };
    Some(value.to_owned())
}

/// What is wrong with the lines of `mq` in a line of a shell.
fn wrong(line: &str) -> Vec<String> {
    let commands = commands(line).into_iter();
    let ours = commands.filter(|words| {
        let is_dependency = words.get(1).is_some_and(|word| word == "=");
        words.first().is_some_and(|word| word == "mq") && !is_dependency
    });
    let built =
        ours.filter(|words| cfg!(feature = "top") || words.get(1).is_none_or(|verb| verb != "top"));
    let parsed = built.filter_map(|words| {
        let words = words.iter().filter_map(|word| filled(word));
        Command::try_parse_from(words).err()
    });
    let refused = parsed.filter(clap::Error::use_stderr);
    refused.map(|error| format!("{line}\n{error}")).collect()
}

/// The lines of fenced blocks, those that are continued as one.
fn fenced(page: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_inside = false;
    let mut goes_on = false;
    for line in page.lines() {
        let line = line.trim_start();
        if line.starts_with("```") {
            is_inside = !is_inside;
            continue;
        }
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let (line, is_continued) = line
            .strip_suffix('\\')
            .map_or((line, false), |line| (line, true));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(line),
            None if is_inside => lines.push(line.to_owned()),
            None => {}
        }
        goes_on = is_inside && is_continued;
    }
    lines
}

/// Whole commands between backticks: those that name a store.
fn inline(page: &str) -> Vec<String> {
    let spans = page.split('`').skip(1).step_by(2);
    let ours = spans.filter(|span| span.starts_with("mq ") && span.contains("--data"));
    let whole = ours.filter(|span| !span.contains('['));
    whole.map(|span| span.replace('\n', " ")).collect()
}

fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    pages.extend(["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|name| root.join(name)));
    pages.sort();
    let read = |path: &std::path::PathBuf| {
        (
            path.display().to_string(),
            fs::read_to_string(path).unwrap(),
        )
    };
    pages.iter().map(read).collect()
}

#[test]
fn every_command_line_of_the_documents_is_one_that_the_program_takes() {
    let mut seen = 0;
    let mut errors = Vec::new();
    for (name, page) in pages() {
        for line in fenced(&page).into_iter().chain(inline(&page)) {
            seen += usize::from(line.contains("mq "));
            errors.extend(
                wrong(&line)
                    .into_iter()
                    .map(|text| format!("{name}: {text}")),
            );
        }
    }
    assert!(seen > 30, "the test sees only {seen} lines");
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_example_of_the_help_is_one_that_the_program_takes() {
    fn check(command: &clap::Command, path: &str, errors: &mut Vec<String>) {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        errors.extend(help.lines().flat_map(|line| wrong(line.trim_start())));
        let mut examples = help.lines().flat_map(commands);
        let is_shown = |words: Vec<String>| {
            words
                .iter()
                .zip(path.split(' '))
                .all(|(word, wanted)| word == wanted)
        };
        let is_verb = command.get_subcommands().next().is_none();
        if is_verb && !examples.any(is_shown) {
            errors.push(format!("{path} has no example"));
        }
        for verb in command.get_subcommands() {
            check(verb, &format!("{path} {}", verb.get_name()), errors);
        }
    }
    let mut errors = Vec::new();
    check(&Command::command(), "mq", &mut errors);
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn a_line_that_the_program_does_not_take_is_found() {
    assert_eq!(
        wrong("seq 3 | mq enqueue --data d --queue q > ids # three").len(),
        0
    );
    assert_eq!(wrong("seq 3 | mq enqueue --data d --quue q").len(), 1);
    assert_eq!(
        wrong("mq work --data d --queue q -- sh -c 'read f; mq nonsense'").len(),
        0
    );
    assert_eq!(wrong("mq dlq replay --data DIR").len(), 1);
    assert_eq!(wrong("mq dlq replay --data DIR ID…").len(), 0);
    let page = "```sh\nmq stats \\\n  --data d\n```\nmq none\n";
    assert_eq!(fenced(page), ["mq stats --data d"]);
    assert_eq!(
        words(r#"a 'b c' "d \"e" f\ g"#),
        ["a", "b c", "d \"e", "f g"]
    );
}
