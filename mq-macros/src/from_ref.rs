//! From a struct's fields to the parts that handlers can ask for.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Field, Fields, Path, Token, Type, parse_quote};

/// An implementation for each field, and the list of them.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let root = root(input)?;
    let fields = named_fields(input)?;
    if !input.generics.params.is_empty() {
        let text =
            "a value whose parts are shared cannot be generic: each part is found by its type";
        return Err(Error::new_spanned(&input.generics, text));
    }
    let whole = &input.ident;
    let mut implementations = TokenStream::new();
    let mut parts: Vec<&Type> = Vec::new();
    for field in fields {
        if is_skipped(field)? {
            continue;
        }
        let (name, part) = (&field.ident, &field.ty);
        let is_known = |known: &&Type| quote!(#known).to_string() == quote!(#part).to_string();
        if parts.iter().any(is_known) {
            let text = "two fields have this type, and a part is found by its type; put `#[from_ref(skip)]` on one of them";
            return Err(Error::new_spanned(field, text));
        }
        implementations.extend(quote! {
            #[automatically_derived]
            impl #root::FromRef<#whole> for #part {
                fn from_ref(whole: &#whole) -> Self {
                    ::core::clone::Clone::clone(&whole.#name)
                }
            }
        });
        parts.push(part);
    }
    Ok(quote! {
        #implementations
        #[automatically_derived]
        impl #root::Parts for #whole {
            fn parts(list: &mut #root::PartList<'_, Self>) {
                #(list.part::<#parts>();)*
                let _ = list;
            }
        }
    })
}

fn named_fields(input: &DeriveInput) -> Result<impl Iterator<Item = &Field>, Error> {
    let text = "`FromRef` is for structs with named fields: each field is a part that handlers can ask for";
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter()),
            Fields::Unnamed(_) | Fields::Unit => Err(Error::new(input.ident.span(), text)),
        },
        Data::Enum(_) | Data::Union(_) => Err(Error::new(input.ident.span(), text)),
    }
}

/// `#[from_ref(crate = path)]` on the struct.
fn root(input: &DeriveInput) -> Result<Path, Error> {
    let mut root: Path = parse_quote!(::mq);
    for attribute in &input.attrs {
        if attribute.path().is_ident("from_ref") {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("crate") {
                    return Err(meta.error("unknown key; on a struct, `from_ref` knows crate"));
                }
                meta.input.parse::<Token![=]>()?;
                root = meta.input.call(Path::parse_mod_style)?;
                Ok(())
            })?;
        }
    }
    Ok(root)
}

/// `#[from_ref(skip)]` on a field.
fn is_skipped(field: &Field) -> Result<bool, Error> {
    let mut is_skipped = false;
    for attribute in &field.attrs {
        if attribute.path().is_ident("from_ref") {
            attribute.parse_nested_meta(|meta| {
                is_skipped = meta.path.is_ident("skip");
                if is_skipped {
                    Ok(())
                } else {
                    Err(meta.error("unknown key; on a field, `from_ref` knows skip"))
                }
            })?;
        }
    }
    Ok(is_skipped)
}

#[cfg(test)]
mod tests;
