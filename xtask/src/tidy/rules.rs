//! The rules themselves: from a file's text to the offences in it.
//!
//! Words and paths are looked for in the text, so that comments and strings are held too; functions, `unsafe` and
//! attributes in the syntax, so that comments and strings are not. The forbidden words are spelled in two halves here,
//! because this file is held to its own rules.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::{Offence, Rule, SourceFile};

/// Most lines of a function, from its signature to its closing brace.
pub(super) const FUNCTION_LINES_MAX: usize = 70;

/// Most lines of a file, without its inline test modules.
pub(super) const FILE_LINES_MAX: usize = 600;

/// Words that no Rust file may hold, and what to do instead.
pub(super) const WORDS: [(&str, &str); 6] = [
    (
        concat!("TO", "DO"),
        "plans stand in docs/decisions, not in source",
    ),
    (
        concat!("FIX", "ME"),
        "plans stand in docs/decisions, not in source",
    ),
    (
        concat!("#[ign", "ore"),
        "a test that is not run proves nothing: delete or mend it",
    ),
    (
        concat!("thread::", "sleep"),
        "wait on an event, never on a delay",
    ),
    (concat!("to", "do!"), "finish it or leave it out"),
    (concat!("unimpl", "emented!"), "finish it or leave it out"),
];

/// Beginnings of paths that lead out of the repository.
pub(super) const OUTSIDE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("../sha", "red")];

/// Every offence in `file`.
pub(super) fn check(file: &SourceFile) -> Vec<Offence> {
    let mut offences = outside_paths(file);
    if file.is_rust() {
        offences.extend(opening(file));
        offences.extend(words(file));
        offences.extend(syntax(file));
    }
    offences
}

fn offence(file: &SourceFile, line: usize, rule: Rule, name: &str, what: String) -> Offence {
    Offence {
        path: file.path.clone(),
        line,
        rule,
        name: name.to_owned(),
        what,
    }
}

fn outside_paths(file: &SourceFile) -> Vec<Offence> {
    let wrong = |name: &str| format!("{name} leads out of the repository");
    find(file, &OUTSIDE_PATHS)
        .map(|(line, name)| offence(file, line, Rule::OutsidePath, name, wrong(name)))
        .collect()
}

fn words(file: &SourceFile) -> Vec<Offence> {
    let forbidden = WORDS.map(|(word, _)| word);
    let advice = |found: &str| {
        WORDS
            .iter()
            .find(|(word, _)| *word == found)
            .map_or("", |(_, advice)| advice)
    };
    find(file, &forbidden)
        .map(|(line, word)| {
            offence(
                file,
                line,
                Rule::Word,
                word,
                format!("{word}: {}", advice(word)),
            )
        })
        .collect()
}

/// Lines that hold one of `needles`, with the needle.
fn find<'a>(
    file: &'a SourceFile,
    needles: &'a [&'static str],
) -> impl Iterator<Item = (usize, &'static str)> + 'a {
    let numbered = file.text.lines().zip(1_usize..);
    numbered.flat_map(|(line, number)| {
        let found = needles.iter().filter(move |needle| line.contains(**needle));
        found.map(move |needle| (number, *needle))
    })
}

fn opening(file: &SourceFile) -> Option<Offence> {
    let first = file.text.lines().find(|line| !line.trim().is_empty());
    let opens = first.is_some_and(|line| line.starts_with("//!"));
    let what = "a file opens with //! and says its one job";
    (!opens).then(|| offence(file, 1, Rule::Opening, "//!", what.to_owned()))
}

fn syntax(file: &SourceFile) -> Vec<Offence> {
    let tokens = match file.text.parse::<TokenStream>() {
        Ok(tokens) => tokens,
        Err(error) => {
            return vec![unparsed(
                file,
                error.span().start().line,
                &error.to_string(),
            )];
        }
    };
    let mut offences = token_offences(file, tokens.clone());
    match syn::parse2::<syn::File>(tokens) {
        Ok(parsed) => offences.extend(sizes(file, &parsed)),
        Err(error) => offences.push(unparsed(
            file,
            error.span().start().line,
            &error.to_string(),
        )),
    }
    offences
}

fn unparsed(file: &SourceFile, line: usize, error: &str) -> Offence {
    offence(
        file,
        line,
        Rule::Syntax,
        "syntax",
        format!("does not parse: {error}"),
    )
}

/// Rules about tokens, which see into macro calls and definitions as well.
fn token_offences(file: &SourceFile, tokens: TokenStream) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut after_hash = false;
    for token in tokens {
        let line = token.span().start().line;
        match token {
            TokenTree::Ident(word) if word == "unsafe" => {
                let what = "unsafe code stands in the ring and the segment map only".to_owned();
                offences.push(offence(file, line, Rule::Unsafe, "unsafe", what));
            }
            TokenTree::Group(group) => {
                let is_attribute = after_hash && group.delimiter() == Delimiter::Bracket;
                if is_attribute && silences(group.stream()) {
                    let what = "silence a lint with expect and a reason".to_owned();
                    offences.push(offence(file, line, Rule::Allow, "allow", what));
                }
                offences.extend(token_offences(file, group.stream()));
                after_hash = false;
            }
            TokenTree::Punct(mark) => {
                after_hash = mark.as_char() == '#' || (after_hash && mark.as_char() == '!')
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => after_hash = false,
        }
    }
    offences
}

/// Whether an attribute's tokens hold `allow(…)`, also inside `cfg_attr`.
fn silences(attribute: TokenStream) -> bool {
    let mut after_allow = false;
    for token in attribute {
        match token {
            TokenTree::Ident(word) => after_allow = word == "allow",
            TokenTree::Group(group) => {
                if after_allow || silences(group.stream()) {
                    return true;
                }
                after_allow = false;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => after_allow = false,
        }
    }
    false
}

fn sizes(file: &SourceFile, parsed: &syn::File) -> Vec<Offence> {
    if file.is_test() {
        return Vec::new();
    }
    let mut measure = Measure {
        file,
        offences: Vec::new(),
        test_lines: 0,
    };
    measure.visit_file(parsed);
    let lines = file.text.lines().count() - measure.test_lines;
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines; a file stops at {FILE_LINES_MAX}");
        measure
            .offences
            .push(offence(file, 1, Rule::FileSize, "lines", what));
    }
    measure.offences
}

/// Measures functions, and sets test modules aside.
struct Measure<'a> {
    file: &'a SourceFile,
    offences: Vec<Offence>,
    test_lines: usize,
}

impl Measure<'_> {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let start = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - start;
        if lines > FUNCTION_LINES_MAX {
            let name = signature.ident.to_string();
            let what =
                format!("{name} has {lines} lines; a function stops at {FUNCTION_LINES_MAX}");
            self.offences
                .push(offence(self.file, start, Rule::FunctionSize, &name, what));
        }
    }
}

impl<'ast> Visit<'ast> for Measure<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        match &module.content {
            Some((braces, _)) if is_for_tests(&module.attrs) => {
                let start = module.mod_token.span.start().line;
                self.test_lines += braces.span.close().end().line + 1 - start;
            }
            _ => visit::visit_item_mod(self, module),
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Whether `#[cfg(test)]` is among the attributes.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute
            .path()
            .is_ident("cfg")
            .then(|| attribute.parse_args::<syn::Ident>());
        condition.is_some_and(|name| name.is_ok_and(|name| name == "test"))
    })
}
