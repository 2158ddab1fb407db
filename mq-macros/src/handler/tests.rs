//! What is checked, and the text of each error.

use quote::quote;

use super::checks;

fn code_of(item: proc_macro2::TokenStream) -> String {
    checks(quote!(), item).expect("a handler").to_string()
}

fn error_of(item: proc_macro2::TokenStream) -> String {
    checks(quote!(), item)
        .expect_err("not a handler")
        .to_string()
}

#[test]
fn every_part_of_the_signature_is_checked() {
    let code = code_of(quote!(
        async fn charge(charge: Charge, ctx: Ctx) -> Outcome {
            Ok(())
        }
    ));
    assert!(code.contains(":: mq :: Message"), "{code}");
    assert!(code.contains("message :: < Charge > ()"), "{code}");
    assert!(code.contains("extractor :: < Ctx > ()"), "{code}");
    assert!(code.contains("result :: < Charge , Outcome > ()"), "{code}");
    assert!(
        code.contains("future (charge (argument_0 , argument_1))"),
        "{code}"
    );
}

#[test]
fn a_blocking_handler_need_not_be_a_future() {
    let code = code_of(quote!(
        fn charge(charge: Charge) {}
    ));
    assert!(code.contains("result :: < Charge , () > ()"), "{code}");
    assert!(!code.contains("future (charge"), "{code}");
}

#[test]
fn the_crate_of_the_traits_can_be_named() {
    let item = quote!(
        fn charge(charge: Charge) {}
    );
    let code = checks(quote!(crate = mq_dispatch), item).expect("a handler");
    assert!(
        code.to_string().contains("mq_dispatch :: Message"),
        "{code}"
    );
    assert!(
        checks(
            quote!(krate = x),
            quote!(
                fn f(m: M) {}
            )
        )
        .is_err()
    );
}

#[test]
fn what_cannot_be_a_handler_is_told_so() {
    assert!(
        error_of(quote!(
            fn f() {}
        ))
        .contains("first argument is its message")
    );
    assert!(
        error_of(quote!(
            fn f<T>(m: M) {}
        ))
        .contains("cannot be generic")
    );
    assert!(
        error_of(quote!(
            fn f(&self, m: M) {}
        ))
        .contains("no `self`")
    );
    let nine = quote!(
        fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I) {}
    );
    assert!(error_of(nine).contains("at most eight arguments"));
}
