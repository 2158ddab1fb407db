//! `#[derive(Message)]`: the facts of a kind of message, written once at its type. `#[handler]`: compiler errors about a
//! handler, at the handler. `#[derive(FromRef)]`: the fields of a shared struct as parts.
//!
//! Everything that can be wrong with them is a compiler error at the place where it is written. Nothing is made up:
//! a kind is the author's word, because stored messages outlive the names of types.

mod from_ref;
mod handler;
mod message;
mod test;

use proc_macro::TokenStream;

/// Implements `Message` from `#[message(...)]`.
///
/// | key | value | without it |
/// |---|---|---|
/// | `kind` | the kind, a stable name | an error: it has no default |
/// | `aliases` | `["old.name"]`: former kinds that its handler still serves | none |
/// | `version` | version of the payload's shape, 1 to 65535 | 1 |
/// | `queue` | the queue it goes to | `"default"` |
/// | `priority` | 0 to 9, 9 most urgent | 4 |
/// | `priority_with` | path of a `fn(&Self) -> u8` that answers the priority of each message | `priority` |
/// | `index` | `"/order/sku"` or a list, at most 8: fields of the payload, as JSON pointers, by which messages are found without reading all; may stand there several times | none |
/// | `output` | type of the handler's result | `()` |
/// | `upgrade` | path of a `fn(u16, &[u8]) -> Result<Self, E>` that reads older versions | read as the present one |
/// | `crate` | path of the crate that has the trait | `::mq` |
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    message::expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes each field of a struct a part that handlers can ask for: `State<Payments>` of an `App` that was given by
/// `.state_parts(App { … })`. The struct and the types of its fields are `Clone`.
///
/// `#[from_ref(skip)]` leaves a field out; `#[from_ref(crate = path)]` on the struct names the crate that has the
/// traits, `::mq` otherwise.
#[proc_macro_derive(FromRef, attributes(from_ref))]
pub fn derive_from_ref(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    from_ref::expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Checks that a function is a handler, and says what is wrong where it is wrong. The function stays as it is: the
/// attribute is for reading errors, and may be left out.
///
/// Without it, the compiler can only say at `handle(function)` that the function is not a handler. With it, each
/// argument, the return value and (for an async function) whether it can move between threads are checked by
/// themselves. `#[handler(crate = path)]` names the crate that has the traits, `::mq` otherwise.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item: proc_macro2::TokenStream = item.into();
    let checks = handler::checks(arguments.into(), item.clone())
        .unwrap_or_else(|error| error.to_compile_error());
    quote::quote!(#item #checks).into()
}

/// Makes an async function a test that runs in a simulated world. Use it as `#[mq_testing::test]`.
///
/// The function takes nothing and returns nothing or a `Result<(), E>`. It runs on one thread, on a tokio runtime whose time
/// is simulated, with a seed that is made from its name, so that it does the same each time. A failure prints the seed, what
/// happened, and the command that repeats it.
///
/// `#[mq_testing::test(seeds = 20)]` runs it with twenty seeds. In the environment, `MQ_TEST_SEED=n` runs exactly that seed,
/// and `MQ_TEST_SEEDS=n` so many of each test.
///
/// `#[mq_testing::test(explore)]` runs it once without trouble, and then once for every point at which the process can crash,
/// an answer can be late or the clock can jump; see `mq_testing::explore`.
///
/// `crate = path` names the crate that has the harness, `::mq_testing` otherwise.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(arguments.into(), item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
