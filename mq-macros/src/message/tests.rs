//! What the derive writes, and the text of each of its errors.

use proc_macro2::Span;
use syn::{DeriveInput, parse_quote};

use super::expand;

fn error_of(input: &DeriveInput) -> String {
    let errors = expand(input).expect_err("the attribute is wrong");
    let texts: Vec<String> = errors.into_iter().map(|error| error.to_string()).collect();
    texts.join(" | ")
}

fn code_of(input: &DeriveInput) -> String {
    expand(input).expect("a good attribute").to_string()
}

#[test]
fn a_kind_alone_leaves_every_default_to_the_trait() {
    let code = code_of(&parse_quote!(
        #[message(kind = "email.welcome")]
        struct SendWelcome;
    ));
    assert!(
        code.contains("impl :: mq :: Message for SendWelcome"),
        "{code}"
    );
    assert!(
        code.contains("KIND : & 'static str = \"email.welcome\""),
        "{code}"
    );
    assert!(code.contains("VERSION : u16 = 1u16"), "{code}");
    assert!(code.contains("type Output = ()"), "{code}");
    assert!(
        !code.contains("QUEUE") && !code.contains("PRIORITY"),
        "{code}"
    );
}

#[test]
fn every_key_arrives_in_the_implementation() {
    let code = code_of(&parse_quote!(
        #[message(kind = "image.resize", aliases = ["resize", "img"], version = 3, queue = "img/big", priority = 9)]
        #[message(output = Resized, upgrade = Self::read_old, priority_with = Self::urgency, crate = mq_dispatch)]
        struct Resize<T> {
            of: T,
        }
    ));
    assert!(
        code.contains("impl < T > mq_dispatch :: Message for Resize < T >"),
        "{code}"
    );
    assert!(code.contains("& [\"resize\" , \"img\"]"), "{code}");
    assert!(code.contains("3u16") && code.contains("9u8"), "{code}");
    assert!(
        code.contains("QUEUE : & 'static str = \"img/big\""),
        "{code}"
    );
    assert!(code.contains("type Output = Resized"), "{code}");
    assert!(
        code.contains("fn priority (& self) -> u8 { Self :: urgency (self) }"),
        "{code}"
    );
    assert!(
        code.contains("Self :: read_old (from , payload) ?"),
        "{code}"
    );
}

#[test]
fn a_missing_kind_says_what_to_write() {
    let text = error_of(&parse_quote!(
        struct SendWelcome;
    ));
    assert!(
        text.contains("#[message(kind = \"email.welcome\")]"),
        "{text}"
    );
}

#[test]
fn bad_names_are_reported_together() {
    let text = error_of(&parse_quote!(
        #[message(kind = "", aliases = ["a b"], queue = "x\n")]
        struct Bad;
    ));
    assert!(
        text.contains("a kind has 1 to 128 characters, not 0"),
        "{text}"
    );
    assert!(text.contains("a kind has no ' '"), "{text}");
    assert!(text.contains("a queue has no '\\n'"), "{text}");
}

#[test]
fn numbers_out_of_range_and_unknown_keys_are_refused() {
    let priority = error_of(&parse_quote!(
        #[message(kind = "k", priority = 10)]
        struct Bad;
    ));
    assert!(priority.contains("0 to 9"), "{priority}");
    let version = error_of(&parse_quote!(
        #[message(kind = "k", version = 0)]
        struct Bad;
    ));
    assert!(version.contains("1 to 65535"), "{version}");
    let key = error_of(&parse_quote!(
        #[message(kind = "k", retries = 3)]
        struct Bad;
    ));
    assert!(key.contains("unknown key"), "{key}");
}

#[test]
fn an_alias_that_repeats_the_kind_is_refused() {
    let text = error_of(&parse_quote!(
        #[message(kind = "k", aliases = ["k"])]
        struct Bad;
    ));
    assert!(text.contains("twice"), "{text}");
}

#[test]
fn indexed_fields_arrive_one_by_one_and_in_lists() {
    let code = code_of(&parse_quote!(
        #[message(kind = "k", index = "/order/sku", index = ["/a~1b", "/c"])]
        struct Good;
    ));
    let index = "INDEX : & 'static [& 'static str] = & [\"/order/sku\" , \"/a~1b\" , \"/c\"]";
    assert!(code.contains(index), "{code}");
}

#[test]
fn what_is_no_field_is_refused() {
    let text = error_of(&parse_quote!(
        #[message(kind = "k", index = "sku", index = "/a~2", index = ["/b", "/b"])]
        struct Bad;
    ));
    for reason in ["JSON pointer to it", "~ is written ~0", "here twice"] {
        assert!(text.contains(reason), "{text}");
    }
    let many = error_of(&parse_quote!(
        #[message(kind = "k", index = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"])]
        struct Bad;
    ));
    assert!(many.contains("at most 8"), "{many}");
}

#[test]
fn what_is_as_long_as_may_be_is_taken_and_one_more_is_not() {
    let long =
        |len: usize| syn::LitStr::new(&format!("/{}", "a".repeat(len - 1)), Span::call_site());
    let (last, beyond) = (long(255), long(256));
    let taken = code_of(&parse_quote!(
        #[message(kind = "k", index = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", #last])]
        struct Fullest;
    ));
    assert!(taken.contains(&last.value()), "{taken}");
    let refused = error_of(&parse_quote!(
        #[message(kind = "k", index = #beyond)]
        struct TooLong;
    ));
    assert_eq!(refused, "a pointer has at most 255 bytes, not 256");
}
