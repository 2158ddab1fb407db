//! `#[mq_testing::test]`: an async function becomes a test in a simulated world.
//!
//! Everything that can be wrong with it is a compiler error at the place where it is written.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Error, ItemFn, LitInt, Path, Token, parse_quote};

/// What stands in the attribute's brackets.
struct Arguments {
    seeds: u64,
    root: Path,
}

/// The test.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let Arguments { seeds, root } = arguments_of.parse2(arguments)?;
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = syn::parse2(item)?;
    if sig.asyncness.is_none() {
        let text = "a simulated test is an `async fn`: what it waits for happens in simulated time";
        return Err(Error::new_spanned(sig.fn_token, text));
    }
    if let Some(argument) = sig.inputs.first() {
        let text = "a test takes no arguments; begin with `Harness::new()`";
        return Err(Error::new_spanned(argument, text));
    }
    let (name, output) = (&sig.ident, &sig.output);
    let text = name.to_string();
    Ok(quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #name() {
            async fn body() #output #block
            #root::run_test(
                #root::TestName {
                    package: ::core::env!("CARGO_PKG_NAME"),
                    module: ::core::module_path!(),
                    function: #text,
                },
                #seeds,
                body,
            );
        }
    })
}

fn arguments_of(input: ParseStream<'_>) -> Result<Arguments, Error> {
    let mut arguments = Arguments {
        seeds: 1,
        root: parse_quote!(::mq_testing),
    };
    while !input.is_empty() {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            arguments.root = input.call(Path::parse_mod_style)?;
        } else {
            let key: syn::Ident = input.parse()?;
            if key != "seeds" {
                let text = format!("there is no `{key}` here; there are `seeds` and `crate`");
                return Err(Error::new_spanned(key, text));
            }
            input.parse::<Token![=]>()?;
            let seeds: LitInt = input.parse()?;
            arguments.seeds = seeds.base10_parse()?;
            if arguments.seeds == 0 {
                return Err(Error::new_spanned(seeds, "a test needs at least one seed"));
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests;
