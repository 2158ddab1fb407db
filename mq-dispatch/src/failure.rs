//! What is kept of an error for people: the last segment of its type's name and its text with all causes.
//!
//! Texts are cut here to what the store keeps, at a character's boundary.

use std::error::Error;

use mq_core::limits::{ERROR_SIZE_MAX, ERROR_TYPE_SIZE_MAX};
use mq_core::state::Failure;

/// The failure that `error`, which was an `E` before it was boxed, leaves in the history.
pub(crate) fn of<E>(error: &(dyn Error + 'static)) -> Failure {
    new(short_name(std::any::type_name::<E>()), &chain(error))
}

/// A failure of a class that dispatch itself names.
pub(crate) fn new(error_type: &str, text: &str) -> Failure {
    Failure {
        error_type: cut(error_type, ERROR_TYPE_SIZE_MAX),
        text: cut(text, ERROR_SIZE_MAX),
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
