//! Lists everything that lives or is dead, by sequence number, for the parent to compare.

use anyhow::Context;
use mq::{Cursor, Filter, StateKind};

use super::Child;
use crate::line::Said;

/// Numbers in a line: it must stay under the size that a pipe takes in one piece (4,096 bytes).
const LINE_LEN: usize = 200;
const PAGE_LEN: usize = 1_000;

/// Lists all of it, between two lines with this number.
///
/// # Errors
/// The engine stopped.
pub(super) async fn list_all(child: &Child, number: u64) -> anyhow::Result<()> {
    child.mouth.say(&Said::AuditBegins(number));
    list(child, Filter::new().live()).await?;
    list(child, Filter::new().state(StateKind::Dead)).await?;
    // What went from living to dead while the living were listed, and back while the dead were, is in neither list.
    list(child, Filter::new().live()).await?;
    child.mouth.say(&Said::AuditEnds(number));
    Ok(())
}

async fn list(child: &Child, filter: Filter) -> anyhow::Result<()> {
    let messages = child.engine.messages(filter);
    let mut next = Some(Cursor::START);
    while let Some(cursor) = next {
        let page = messages.page(cursor, PAGE_LEN).await.context("an audit")?;
        for unreadable in &page.unreadable {
            child.mouth.trouble(format!("{unreadable} is unreadable"));
        }
        let seqs: Vec<u64> = page.messages.iter().map(|it| it.id.seq().get()).collect();
        for line in seqs.chunks(LINE_LEN) {
            child.mouth.say(&Said::Listed(line.to_vec()));
        }
        next = page.next;
    }
    Ok(())
}
