//! `#[derive(Message)]`: the facts of a kind of message, written once at its type.
//!
//! Everything that can be wrong with them is a compiler error at the place where it is written. Nothing is made up:
//! a kind is the author's word, because stored messages outlive the names of types.

mod message;

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
