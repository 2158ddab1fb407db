//! `#[mq_testing::test]`: an async function becomes a test in a simulated world.
//!
//! Everything that can be wrong with it is a compiler error at the place where it is written.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{ParseStream, Parser};
use syn::{Error, ItemFn, LitInt, Path, Token, parse_quote};

/// What stands in the attribute's brackets.
struct Arguments {
    seeds: u64,
    explores: bool,
    root: Path,
}

/// The test.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let Arguments {
        seeds,
        explores,
        root,
    } = arguments_of.parse2(arguments)?;
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
    let run = format_ident!("{}", if explores { "explore_test" } else { "run_test" });
    Ok(quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis fn #name() {
            async fn body() #output #block
            #root::#run(
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
        explores: false,
        root: parse_quote!(::mq_testing),
    };
    while !input.is_empty() {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            arguments.root = input.call(Path::parse_mod_style)?;
        } else {
            let key: syn::Ident = input.parse()?;
            if key == "explore" {
                arguments.explores = true;
            } else if key == "seeds" {
                arguments.seeds = seeds_of(input)?;
            } else {
                let text =
                    format!("there is no `{key}` here; there are `seeds`, `explore` and `crate`");
                return Err(Error::new_spanned(key, text));
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(arguments)
}

/// `= number`
fn seeds_of(input: ParseStream<'_>) -> Result<u64, Error> {
    input.parse::<Token![=]>()?;
    let seeds: LitInt = input.parse()?;
    match seeds.base10_parse()? {
        0 => Err(Error::new_spanned(seeds, "a test needs at least one seed")),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests;
