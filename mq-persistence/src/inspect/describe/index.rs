//! Indexed fields and terms as names and values.

use mq_core::index::{Index, Term, Terms};

use super::{Fields, Value, text};

pub(super) fn of_index(index: &Index) -> (&'static str, Value) {
    let fields = index.fields().iter();
    let texts = fields.map(|field| Value::Text(field.to_string()));
    ("index", Value::List(texts.collect()))
}

pub(super) fn of_terms(terms: &Terms) -> (&'static str, Value) {
    let terms = terms.as_slice().iter();
    let terms = terms.map(|term| Value::Fields(of_term(term)));
    ("terms", Value::List(terms.collect()))
}

fn of_term(term: &Term) -> Fields {
    let form = term.form;
    let shown = format!("{:016x}{:016x}.{:04x}", form.high, form.low, form.hash);
    vec![
        text("field", format!("{:016x}", term.pointer.0)),
        text("form", shown),
    ]
}
