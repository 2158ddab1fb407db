//! `#[handler]`: one check per part of a handler's signature, each with the span of that part.
//!
//! The checks stand in a constant that nothing runs. A function that cannot be named by its types alone (generic, or
//! returning `impl Trait`) is told so or checked as far as it goes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Path, ReturnType, Token, Type, parse_quote};

/// A message and seven extractors.
const ARGUMENTS_MAX: usize = 8;

/// The constant with the checks.
pub(crate) fn checks(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let root = root.parse2(arguments)?;
    let item: ItemFn = syn::parse2(item)?;
    let types = argument_types(&item)?;
    let Some((message, extractors)) = types.split_first() else {
        let text = "a handler's first argument is its message, a type that derives `Message`";
        return Err(Error::new_spanned(&item.sig, text));
    };
    let message_check = quote_spanned!(message.span()=> message::<#message>(););
    let extractor_checks = extractors
        .iter()
        .map(|extractor| quote_spanned!(extractor.span()=> extractor::<#extractor>();));
    let result_check = result_check(&item, message);
    let send_check = send_check(&item, &types);
    Ok(quote! {
        const _: fn() = || {
            fn message<M: #root::Message>() {}
            fn extractor<T: #root::FromContext>() {}
            fn result<M: #root::Message, R: #root::HandlerResult<M>>() {}
            fn future<F: ::core::future::Future + ::core::marker::Send>(_: F) {}
            #message_check
            #(#extractor_checks)*
            #result_check
            #send_check
        };
    })
}

/// `crate = path`, or nothing.
fn root(input: ParseStream<'_>) -> Result<Path, Error> {
    if input.is_empty() {
        return Ok(parse_quote!(::mq));
    }
    input.parse::<Token![crate]>()?;
    input.parse::<Token![=]>()?;
    input.call(Path::parse_mod_style)
}

fn argument_types(item: &ItemFn) -> Result<Vec<Type>, Error> {
    let signature = &item.sig;
    if !signature.generics.params.is_empty() {
        let text = "a handler cannot be generic: each kind of message has one handler";
        return Err(Error::new_spanned(&signature.generics, text));
    }
    if signature.inputs.len() > ARGUMENTS_MAX {
        let text = "a handler has at most eight arguments: its message and seven extractors; take a `Ctx`, which has everything";
        return Err(Error::new_spanned(&signature.inputs, text));
    }
    let types = signature.inputs.iter().map(|argument| match argument {
        FnArg::Typed(argument) => Ok((*argument.ty).clone()),
        FnArg::Receiver(receiver) => Err(Error::new_spanned(
            receiver,
            "a handler has no `self`; implement `Handler` for the type instead",
        )),
    });
    types.collect()
}

fn result_check(item: &ItemFn, message: &Type) -> Option<TokenStream> {
    match &item.sig.output {
        ReturnType::Default => Some(quote!(result::<#message, ()>();)),
        ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_)) => None,
        ReturnType::Type(_, returned) => {
            Some(quote_spanned!(returned.span()=> result::<#message, #returned>();))
        }
    }
}

fn send_check(item: &ItemFn, types: &[Type]) -> Option<TokenStream> {
    item.sig.asyncness?;
    let function = &item.sig.ident;
    let names: Vec<_> = (0..types.len())
        .map(|index| format_ident!("argument_{index}"))
        .collect();
    Some(quote_spanned! {function.span()=>
        let _future = |#(#names: #types),*| future(#function(#(#names),*));
    })
}

#[cfg(test)]
mod tests;
