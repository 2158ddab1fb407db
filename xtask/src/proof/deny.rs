//! What dependencies may be. Known advisories come from a database on the network; where that cannot be had, only that part is skipped.

use std::path::Path;

use anyhow::bail;

use super::Done;
use crate::shell::Invocation;

pub(super) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    if !arguments.is_empty() {
        bail!("deny takes no arguments; deny.toml says what is allowed");
    }
    let deny = |words: &[&str]| {
        Invocation::cargo(&["deny", "--log-level", "warn"])
            .arguments(words)
            .with_tools(root)
    };
    deny(&[
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ])
    .run(root)?;
    println!("deny: licences, sources and versions are as deny.toml allows");
    if !deny(&["fetch", "db"]).succeeds(root) {
        return Ok(Done::Skipped(
            "advisories: their database could not be fetched; the rest passed".to_owned(),
        ));
    }
    deny(&["check", "advisories"]).run(root)?;
    Ok(Done::Passed(
        "licences, sources, versions, advisories".to_owned(),
    ))
}
