//! What is kept of an error for people: its class, and its text with all causes.
//!
//! The class is a name with few values, for filters and statistics: the variant or type that a derived `Debug` shows
//! first, and the type's own name where `Debug` shows anything else. Texts are cut here to what the store keeps, at a
//! character's boundary.

use std::error::Error;
use std::fmt::{self, Write};
use std::io;

use mq_core::limits::{ERROR_SIZE_MAX, ERROR_TYPE_SIZE_MAX};
use mq_core::state::Failure;

/// Types that show the text of what they hold, which may have any number of values.
const SHOW_TEXT: [&str; 2] = ["anyhow::", "eyre::"];

/// The failure that `error`, which was an `E` before it was boxed, leaves in the history.
pub(crate) fn of<E>(error: &(dyn Error + 'static)) -> Failure {
    new(&class::<E>(error), &chain(error))
}

/// A failure of a class that dispatch itself names.
pub(crate) fn new(error_type: &str, text: &str) -> Failure {
    Failure {
        error_type: cut(error_type, ERROR_TYPE_SIZE_MAX),
        text: cut(text, ERROR_SIZE_MAX),
    }
}

/// `Declined` of `PayError::Declined(402)`, `NotFound` of an I/O error of that kind, `Error` of what only has a text.
fn class<E>(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match error.get_ref() {
            Some(inside) if error.kind() == io::ErrorKind::Other => class::<io::Error>(inside),
            Some(_) | None => format!("{:?}", error.kind()),
        };
    }
    let name = std::any::type_name::<E>();
    let shows_text = SHOW_TEXT.iter().any(|owner| name.starts_with(owner));
    let shown = (!shows_text).then(|| shown_name(error)).flatten();
    shown.unwrap_or_else(|| match short_name(name) {
        "Box" | "String" | "str" => "Error".to_owned(),
        name => name.to_owned(),
    })
}

/// The name that a derived `Debug` begins with.
fn shown_name(error: &dyn Error) -> Option<String> {
    let mut start = NameOnly::default();
    // It refuses what follows the name, so most formats end early and in an error.
    write!(start, "{error:?}").ok();
    let NameOnly { name, next } = start;
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
        && matches!(next, None | Some('(' | ' '));
    is_name.then_some(name)
}

/// Takes the characters of a name, and the one after it.
#[derive(Default)]
struct NameOnly {
    name: String,
    next: Option<char>,
}

impl Write for NameOnly {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let is_part = character.is_ascii_alphanumeric() || character == '_';
            if !is_part || self.name.len() >= ERROR_TYPE_SIZE_MAX {
                self.next = Some(character);
                return Err(fmt::Error);
            }
            self.name.push(character);
        }
        Ok(())
    }
}

/// Error and causes, joined by colons. A cause that its parent's text ends with already is not repeated.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// `Declined` of `shop::pay::Declined<shop::Card>`.
fn short_name(path: &str) -> &str {
    let without_arguments = path.split('<').next().unwrap_or(path);
    let last = without_arguments.rsplit("::").next();
    last.unwrap_or(without_arguments).trim_start_matches('&')
}

fn cut(text: &str, size_max: usize) -> String {
    let mut ends = (0..=size_max.min(text.len())).rev();
    let cut = ends.find_map(|end| text.get(..end));
    cut.unwrap_or_default().to_owned()
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests;
