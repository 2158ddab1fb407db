//! Fields of indexes and terms.

use mq_core::index::{Form, Index, Pointer, PointerHash, Term, Terms};
use mq_core::limits::INDEX_LEN_MAX;

use super::state::{name, put_name, value};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u64};

pub(super) fn put_index(buffer: &mut Vec<u8>, index: &Index) {
    put_len(buffer, index.fields().len());
    for field in index.fields() {
        // A pointer has at most 255 bytes.
        put_name(buffer, field.as_str());
    }
}

pub(super) fn index(fields: &mut Fields<'_>) -> Result<Index, DecodeError> {
    let what = "a pointer to an indexed field";
    let bad = |_| DecodeError::Text { what };
    let len = len(fields, "the number of indexed fields")?;
    let pointers = (0..len).map(|_| Pointer::new(name(fields, what)?).map_err(bad));
    Index::new(pointers.collect::<Result<_, _>>()?).map_err(bad)
}

pub(super) fn put_terms(buffer: &mut Vec<u8>, terms: &Terms) {
    put_len(buffer, terms.as_slice().len());
    for term in terms.as_slice() {
        put_u64(buffer, term.pointer.0);
        put_u64(buffer, term.form.high);
        put_u64(buffer, term.form.low);
        put_u16(buffer, term.form.hash);
    }
}

pub(super) fn terms(fields: &mut Fields<'_>) -> Result<Terms, DecodeError> {
    let len = len(fields, "the number of terms")?;
    let terms = (0..len)
        .map(|_| term(fields))
        .collect::<Result<Vec<_>, _>>()?;
    // Two values of one field would be counted twice.
    let mut pairs = terms.iter().zip(terms.iter().skip(1));
    if let Some((_, next)) = pairs.find(|(term, next)| term.pointer >= next.pointer) {
        return Err(DecodeError::Value {
            what: "the field of a term",
            found: next.pointer.0,
        });
    }
    Ok(Terms::new(terms))
}

fn term(fields: &mut Fields<'_>) -> Result<Term, DecodeError> {
    Ok(Term {
        pointer: PointerHash(fields.u64("the field of a term")?),
        form: Form {
            high: fields.u64("the value of a term")?,
            low: fields.u64("the value of a term")?,
            hash: fields.u16("the hash of a term")?,
        },
    })
}

/// The rules allow eight; a byte is enough.
fn put_len(buffer: &mut Vec<u8>, len: usize) {
    buffer.push(u8::try_from(len).unwrap_or(u8::MAX));
}

fn len(fields: &mut Fields<'_>, what: &'static str) -> Result<u8, DecodeError> {
    let found = fields.u8(what)?;
    if usize::from(found) > INDEX_LEN_MAX {
        return Err(value(what, found));
    }
    Ok(found)
}
