//! From `#[message(...)]` to the implementation of the trait.
//!
//! Names and numbers are checked here with the limits of the engine, so that a bad one never gets as far as a running
//! program. All errors of one attribute are reported together.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, LitInt, LitStr, Path, Token, Type, parse_quote};

/// Bytes of a queue or kind name; the engine's limit.
const NAME_SIZE_MAX: usize = 128;
/// Bytes of a pointer to an indexed field; the engine's limit.
const POINTER_SIZE_MAX: usize = 255;
/// Indexed fields of a kind; the engine's limit.
const INDEX_LEN_MAX: usize = 8;
/// The most urgent priority.
const PRIORITY_MAX: u8 = 9;

struct Attributes {
    kind: Option<LitStr>,
    aliases: Vec<LitStr>,
    version: u16,
    queue: Option<LitStr>,
    priority: Option<u8>,
    priority_with: Option<Path>,
    index: Vec<LitStr>,
    output: Type,
    upgrade: Option<Path>,
    root: Path,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            kind: None,
            aliases: Vec::new(),
            version: 1,
            queue: None,
            priority: None,
            priority_with: None,
            index: Vec::new(),
            output: parse_quote!(()),
            upgrade: None,
            root: parse_quote!(::mq),
        }
    }
}

/// The implementation, or every error of the attribute.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let mut attributes = Attributes::default();
    for attribute in &input.attrs {
        if attribute.path().is_ident("message") {
            attribute.parse_nested_meta(|meta| attributes.read(&meta))?;
        }
    }
    let kind = attributes.check(input.ident.span())?;
    Ok(attributes.implement(input, &kind))
}

impl Attributes {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<(), Error> {
        let Some(key) = meta.path.get_ident() else {
            return Err(unknown(meta));
        };
        match key.to_string().as_str() {
            "kind" => self.kind = Some(meta.value()?.parse()?),
            "aliases" => self.aliases = list(meta)?,
            "version" => self.version = version(meta)?,
            "queue" => self.queue = Some(meta.value()?.parse()?),
            "priority" => self.priority = Some(priority(meta)?),
            "priority_with" => self.priority_with = Some(meta.value()?.parse()?),
            "index" => self.index.extend(one_or_list(meta)?),
            "output" => self.output = meta.value()?.parse()?,
            "upgrade" => self.upgrade = Some(meta.value()?.parse()?),
            "crate" => self.root = meta.value()?.parse()?,
            _ => return Err(unknown(meta)),
        }
        Ok(())
    }

    /// The kind, if it is there and every name is one.
    fn check(&self, here: Span) -> Result<LitStr, Error> {
        let mut errors = Vec::new();
        for kind in self.kind.iter().chain(&self.aliases) {
            errors.extend(name_error("kind", kind));
        }
        if let Some(queue) = &self.queue {
            errors.extend(name_error("queue", queue));
        }
        for (index, alias) in self.aliases.iter().enumerate() {
            let earlier = self.aliases.iter().take(index).chain(&self.kind);
            if earlier.map(LitStr::value).any(|name| name == alias.value()) {
                errors.push(Error::new(alias.span(), "this kind stands here twice"));
            }
        }
        errors.extend(index_errors(&self.index));
        if self.kind.is_none() {
            errors.push(Error::new(here, MISSING_KIND));
        }
        let together = errors.into_iter().reduce(|mut all, error| {
            all.combine(error);
            all
        });
        match (together, &self.kind) {
            (None, Some(kind)) => Ok(kind.clone()),
            (Some(errors), _) => Err(errors),
            (None, None) => Err(Error::new(here, MISSING_KIND)),
        }
    }

    fn implement(&self, input: &DeriveInput, kind: &LitStr) -> TokenStream {
        let Self {
            aliases,
            version,
            output,
            root,
            index,
            ..
        } = self;
        let name = &input.ident;
        let (generics, arguments, bounds) = input.generics.split_for_impl();
        let queue = self
            .queue
            .iter()
            .map(|queue| quote!(const QUEUE: &'static str = #queue;));
        let priority = self
            .priority
            .iter()
            .map(|priority| quote!(const PRIORITY: u8 = #priority;));
        let priority_with = self.priority_with.iter().map(|path| {
            quote! {
                fn priority(&self) -> u8 {
                    #path(self)
                }
            }
        });
        let upgrade = self.upgrade.iter().map(|path| {
            quote! {
                fn upgrade(
                    from: u16,
                    payload: &[u8],
                ) -> ::core::result::Result<
                    Self,
                    ::std::boxed::Box<dyn ::std::error::Error + ::core::marker::Send + ::core::marker::Sync>,
                > {
                    ::core::result::Result::Ok(#path(from, payload)?)
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl #generics #root::Message for #name #arguments #bounds {
                const KIND: &'static str = #kind;
                const ALIASES: &'static [&'static str] = &[#(#aliases),*];
                const VERSION: u16 = #version;
                const INDEX: &'static [&'static str] = &[#(#index),*];
                #(#queue)*
                #(#priority)*
                type Output = #output;
                #(#priority_with)*
                #(#upgrade)*
            }
        }
    }
}

const MISSING_KIND: &str = "a message needs a kind: write `#[message(kind = \"email.welcome\")]` below the derive. \
     It is stored with every message and outlives the name of the type, so it has no default";

fn unknown(meta: &ParseNestedMeta<'_>) -> Error {
    meta.error(
        "unknown key; `message` knows kind, aliases, version, queue, priority, priority_with, index, output, upgrade and crate",
    )
}

/// `"/order/sku"` or `["/order/sku", "/order/cents"]`.
fn one_or_list(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>, Error> {
    if meta.input.peek(Token![=]) && meta.input.peek2(LitStr) {
        return Ok(vec![meta.value()?.parse()?]);
    }
    list(meta)
}

fn index_errors(fields: &[LitStr]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let pointer = field.value();
        let mut escapes = pointer.split('~').skip(1);
        let text = if !pointer.starts_with('/') {
            "a field is a JSON pointer to it, such as \"/order/sku\"".to_owned()
        } else if pointer.len() > POINTER_SIZE_MAX {
            format!(
                "a pointer has at most {POINTER_SIZE_MAX} bytes, not {}",
                pointer.len()
            )
        } else if escapes.any(|after| !after.starts_with(['0', '1'])) {
            "in a JSON pointer ~ is written ~0 and / within a name ~1".to_owned()
        } else if fields.iter().take(at).any(|other| other.value() == pointer) {
            "this field stands here twice".to_owned()
        } else if at == INDEX_LEN_MAX {
            format!("a kind has at most {INDEX_LEN_MAX} indexed fields")
        } else {
            continue;
        };
        errors.push(Error::new(field.span(), text));
    }
    errors
}

fn list(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>, Error> {
    let value = meta.value()?;
    let inside;
    syn::bracketed!(inside in value);
    let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&inside)?;
    Ok(names.into_iter().collect())
}

fn version(meta: &ParseNestedMeta<'_>) -> Result<u16, Error> {
    let literal: LitInt = meta.value()?.parse()?;
    match literal.base10_parse() {
        Ok(version) if version > 0 => Ok(version),
        Ok(_) | Err(_) => Err(Error::new(
            literal.span(),
            "a version is a number from 1 to 65535; 0 stands for messages without a version",
        )),
    }
}

fn priority(meta: &ParseNestedMeta<'_>) -> Result<u8, Error> {
    let literal: LitInt = meta.value()?.parse()?;
    match literal.base10_parse() {
        Ok(priority) if priority <= PRIORITY_MAX => Ok(priority),
        Ok(_) | Err(_) => Err(Error::new(
            literal.span(),
            "a priority is a number from 0 to 9; 9 is the most urgent, 4 the default",
        )),
    }
}

fn name_error(what: &str, literal: &LitStr) -> Option<Error> {
    let name = literal.value();
    if name.is_empty() || name.len() > NAME_SIZE_MAX {
        let text = format!(
            "a {what} has 1 to {NAME_SIZE_MAX} characters, not {}",
            name.len()
        );
        return Some(Error::new(literal.span(), text));
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '-');
    let offender = name.chars().find(|c| !allowed(c))?;
    let text = format!("a {what} has no {offender:?}; allowed are A-Z a-z 0-9 . _ : / -");
    Some(Error::new(literal.span(), text))
}

#[cfg(test)]
mod tests;
