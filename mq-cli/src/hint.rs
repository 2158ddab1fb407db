//! Commands that the program suggests: each can be pasted into a shell as it stands, and does what the sentence says.
//!
//! Every suggestion of the program is made here, so that none lacks its store.

use std::borrow::Cow;
use std::path::Path;

/// `mq VERB --data DIR OPTIONS NAMES`, for a shell.
pub(crate) fn command(data: &Path, verb: &str, options: &[&str], names: &[&str]) -> String {
    let data = data.to_string_lossy();
    let mut words = vec!["mq"];
    words.extend(verb.split(' '));
    words.extend(["--data", &data]);
    words.extend(options);
    if names.iter().any(|name| name.starts_with('-')) {
        words.push("--"); // what follows is no option
    }
    words.extend(names);
    let quoted: Vec<Cow<'_, str>> = words.into_iter().map(quote).collect();
    quoted.join(" ")
}

/// How to get out what is whole in a damaged store.
pub(crate) fn salvage(data: &Path) -> String {
    let mut to = data.to_string_lossy().trim_end_matches('/').to_owned();
    to.push_str(".salvaged");
    command(data, "salvage", &["--to", &to], &[])
}

/// A word as a shell reads it back.
pub(crate) fn quote(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Command;
    use crate::documents::words;

    #[test]
    fn a_suggestion_comes_back_from_a_shell_as_the_words_it_was_made_of() {
        let data = Path::new("/var/it's a $store");
        let text = command(data, "queue resume", &[], &["-mail"]);
        let read = words(&text);
        assert_eq!(
            read,
            [
                "mq",
                "queue",
                "resume",
                "--data",
                "/var/it's a $store",
                "--",
                "-mail"
            ]
        );
        assert!(Command::try_parse_from(read).is_ok());
    }
}
