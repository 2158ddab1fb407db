//! What the derive writes, and the text of each of its errors.

use syn::{DeriveInput, parse_quote};

use super::expand;

fn error_of(input: &DeriveInput) -> String {
    expand(input).expect_err("the struct is wrong").to_string()
}

#[test]
fn each_field_that_is_not_skipped_is_a_part() {
    let code = expand(&parse_quote!(
        #[from_ref(crate = mq_dispatch)]
        struct App {
            mail: Mailer,
            #[from_ref(skip)]
            name: String,
        }
    ));
    let code = code.expect("a good struct").to_string();
    assert!(
        code.contains("impl mq_dispatch :: FromRef < App > for Mailer"),
        "{code}"
    );
    assert!(code.contains("list . part :: < Mailer > ()"), "{code}");
    assert!(!code.contains("String"), "{code}");
}

#[test]
fn what_has_no_parts_is_told_so() {
    let tuple = error_of(&parse_quote!(
        struct App(Mailer);
    ));
    assert!(tuple.contains("structs with named fields"), "{tuple}");
    let generic = error_of(&parse_quote!(
        struct App<T> {
            mail: T,
        }
    ));
    assert!(generic.contains("cannot be generic"), "{generic}");
    let twice = error_of(&parse_quote!(
        struct App {
            one: Mailer,
            two: Mailer,
        }
    ));
    assert!(twice.contains("#[from_ref(skip)]"), "{twice}");
    let key = error_of(&parse_quote!(
        struct App {
            #[from_ref(ignore)]
            one: Mailer,
        }
    ));
    assert!(key.contains("knows skip"), "{key}");
}
