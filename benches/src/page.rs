//! Tables in a page: what was measured replaces what was measured before, between two marks.

use std::path::Path;

use anyhow::Context;

/// Puts `text` between the lines `<!-- name -->` and `<!-- name end -->` of a file.
///
/// # Errors
/// The file cannot be read or written, or has no such lines.
pub fn put(file: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let page =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let page = with(&page, name, text)
        .with_context(|| format!("{} has no marks for {name}", file.display()))?;
    std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))
}

fn with(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- {name} end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = "a\n<!-- goals -->\nold\n<!-- goals end -->\nz\n";
        let new = with(page, "goals", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- goals -->\n\nnew\n\n<!-- goals end -->\nz\n");
        assert_eq!(with(&new, "goals", "new"), Some(new.clone()));
        assert_eq!(with(page, "peers", "new"), None);
    }
}
