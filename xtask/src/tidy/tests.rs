//! Each rule is shown an offence planted for it, and the nearest thing that is none.

use super::*;

const OPENING: &str = "//! One job.\n";

fn file(path: &str, body: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: format!("{OPENING}{body}"),
    }
}

fn broken(file: &SourceFile) -> Vec<(Rule, String)> {
    let offences = rules::check(file);
    offences
        .into_iter()
        .map(|offence| (offence.rule, offence.name))
        .collect()
}

/// A function of exactly `lines` lines, from signature to closing brace.
fn function(lines: usize) -> String {
    format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
}

#[test]
fn a_clean_file_breaks_nothing() {
    assert_eq!(broken(&file("src/a.rs", "fn short() {}\n")), []);
}

#[test]
fn a_function_stops_at_its_last_line() {
    let most = file("src/a.rs", &function(rules::FUNCTION_LINES_MAX));
    let more = file("src/a.rs", &function(rules::FUNCTION_LINES_MAX + 1));
    assert_eq!(broken(&most), []);
    assert_eq!(broken(&more), [(Rule::FunctionSize, "long".to_owned())]);
}

#[test]
fn methods_and_trait_bodies_are_measured_too() {
    let long = function(rules::FUNCTION_LINES_MAX + 1);
    for body in [
        format!("impl A {{\n{long}}}"),
        format!("trait A {{\n{long}}}"),
        format!("mod a {{\n{long}}}"),
    ] {
        assert_eq!(
            broken(&file("src/a.rs", &body)),
            [(Rule::FunctionSize, "long".to_owned())],
            "{body}"
        );
    }
}

#[test]
fn documentation_of_a_function_is_not_counted() {
    let documented = format!(
        "{}{}",
        "/// Why.\n".repeat(20),
        function(rules::FUNCTION_LINES_MAX)
    );
    assert_eq!(broken(&file("src/a.rs", &documented)), []);
}

#[test]
fn a_file_stops_at_its_last_line() {
    let most = file(
        "src/a.rs",
        &"const A: u8 = 1;\n".repeat(rules::FILE_LINES_MAX - 1),
    );
    let more = file(
        "src/a.rs",
        &"const A: u8 = 1;\n".repeat(rules::FILE_LINES_MAX),
    );
    assert_eq!(broken(&most), []);
    assert_eq!(broken(&more), [(Rule::FileSize, "lines".to_owned())]);
}

#[test]
fn tests_are_not_measured_wherever_they_stand() {
    let long = function(rules::FUNCTION_LINES_MAX + 1);
    let longer = long.repeat(20);
    for path in [
        "a/src/b/tests.rs",
        "a/tests/it/main.rs",
        "chaos-tests/src/lib.rs",
    ] {
        assert_eq!(broken(&file(path, &longer)), [], "{path}");
    }
    let inline = format!("#[cfg(test)]\nmod tests {{\n{longer}}}\n");
    assert_eq!(broken(&file("src/a.rs", &inline)), []);
}

#[test]
fn a_file_without_its_opening_is_found() {
    let bare = SourceFile {
        path: "src/a.rs".to_owned(),
        text: "use std::fmt;\n//! late\n".to_owned(),
    };
    assert!(broken(&bare).contains(&(Rule::Opening, "//!".to_owned())));
}

#[test]
fn every_forbidden_word_is_found_in_code_comments_and_tests() {
    for (word, _) in rules::WORDS {
        for path in ["src/a.rs", "tests/it/a.rs"] {
            let planted = file(path, &format!("// {word}\nfn short() {{}}\n"));
            assert_eq!(broken(&planted), [(Rule::Word, word.to_owned())], "{path}");
        }
    }
}

#[test]
fn forbidden_words_in_prose_are_not_source() {
    for (word, _) in rules::WORDS {
        assert_eq!(broken(&file("docs/a.md", word)), []);
    }
}

#[test]
fn paths_out_of_the_repository_are_found_in_every_text() {
    for path in rules::OUTSIDE_PATHS {
        for name in ["README.md", "Cargo.toml", "src/a.rs"] {
            let planted = file(name, &format!("// see {path}/x\n"));
            assert_eq!(
                broken(&planted),
                [(Rule::OutsidePath, path.to_owned())],
                "{name}"
            );
        }
    }
}

#[test]
fn unsafe_is_found_in_every_form() {
    let forms = [
        "unsafe fn a() {}",
        "fn a() { unsafe { b() } }",
        "unsafe impl Send for A {}",
        "macro_rules! a { () => { unsafe { b() } }; }",
    ];
    for form in forms {
        assert_eq!(
            broken(&file("src/a.rs", form)),
            [(Rule::Unsafe, "unsafe".to_owned())],
            "{form}"
        );
    }
}

#[test]
fn unsafe_as_a_word_of_prose_is_not_code() {
    let body =
        "#![deny(unsafe_code)]\n/// Nothing unsafe here.\nconst A: &str = \"unsafe\"; // unsafe\n";
    assert_eq!(broken(&file("src/a.rs", body)), []);
}

#[test]
fn silenced_lints_are_found_in_every_form() {
    let forms = [
        "#[allow(dead_code)]\nfn a() {}",
        "#![allow(dead_code)]",
        "#[cfg_attr(test, allow(dead_code))]\nfn a() {}",
        "fn a() {\n    #[allow(unused)]\n    let b = 1;\n}",
    ];
    for form in forms {
        assert_eq!(
            broken(&file("src/a.rs", form)),
            [(Rule::Allow, "allow".to_owned())],
            "{form}"
        );
    }
}

#[test]
fn a_function_called_allow_and_an_expected_lint_are_fine() {
    let body = "#[expect(dead_code, reason = \"allow(x)\")]\nfn a() { let b = [allow(1)]; }\n";
    assert_eq!(broken(&file("src/a.rs", body)), []);
}

#[test]
fn a_file_that_does_not_parse_is_an_offence() {
    for body in ["fn a( {", "fn fn fn"] {
        assert_eq!(
            broken(&file("src/a.rs", body)),
            [(Rule::Syntax, "syntax".to_owned())],
            "{body}"
        );
    }
}

#[test]
fn an_exception_excuses_what_it_names_and_nothing_else() {
    let exceptions = [Exception {
        rule: Rule::Unsafe,
        path: "src/ring.rs",
        name: "unsafe",
        reason: "the ring",
    }];
    let ring = file("src/ring.rs", "unsafe fn a() {}");
    let other = file("src/other.rs", "unsafe fn a() {}");
    assert_eq!(complaints(&[ring], &exceptions), Vec::<String>::new());
    let both = complaints(&[other], &exceptions);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(
        both.iter().any(|line| line.contains("src/other.rs:2")),
        "{both:?}"
    );
    assert!(
        both.iter().any(|line| line.contains("excuses nothing")),
        "{both:?}"
    );
}

#[test]
fn files_are_found_below_the_root_but_not_in_build_folders() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["a/src", "target/debug", "a/target", ".git"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        fs::write(root.path().join(folder).join("lib.rs"), OPENING).unwrap();
    }
    fs::write(root.path().join("image.bin"), [0xff, 0xfe]).unwrap();
    fs::write(root.path().join("a/.git"), "gitdir: elsewhere").unwrap();
    let paths: Vec<String> = load(root.path())
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect();
    assert_eq!(paths, ["a/src/lib.rs"]);
}
