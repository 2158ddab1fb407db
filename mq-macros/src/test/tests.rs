//! What the attribute writes, and the text of each of its errors.

use quote::quote;

use super::expand;

fn error_of(arguments: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> String {
    expand(arguments, item)
        .expect_err("the test is wrong")
        .to_string()
}

#[test]
fn an_async_function_becomes_a_test_with_one_seed() {
    let code = expand(
        quote!(),
        quote!(
            async fn it_works() {
                work().await;
            }
        ),
    );
    let code = code.expect("a good test").to_string();
    assert!(code.contains("fn it_works () {"), "{code}");
    assert!(code.contains(":: mq_testing :: run_test"), "{code}");
    assert!(code.contains("1u64 , body"), "{code}");
}

#[test]
fn seeds_exploring_and_crate_arrive() {
    let arguments = quote!(seeds = 20, explore, crate = crate::kit);
    let code = expand(
        arguments,
        quote!(
            async fn it_works() {}
        ),
    );
    let code = code.expect("a good test").to_string();
    assert!(code.contains("crate :: kit :: explore_test"), "{code}");
    assert!(code.contains("20u64 , body"), "{code}");
}

#[test]
fn what_is_no_simulated_test_is_told_why() {
    let not_async = error_of(
        quote!(),
        quote!(
            fn it_works() {}
        ),
    );
    assert!(not_async.contains("an `async fn`"), "{not_async}");
    let argument = error_of(
        quote!(),
        quote!(
            async fn it_works(seed: u64) {}
        ),
    );
    assert!(argument.contains("takes no arguments"), "{argument}");
    let unknown = error_of(
        quote!(runs = 3),
        quote!(
            async fn it_works() {}
        ),
    );
    assert!(unknown.contains("there is no `runs` here"), "{unknown}");
    let none = error_of(
        quote!(seeds = 0),
        quote!(
            async fn it_works() {}
        ),
    );
    assert!(none.contains("at least one seed"), "{none}");
}
