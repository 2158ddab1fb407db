//! `mq completions` and `mq man`: what a shell and a manual reader should know of this program, made from the command line itself.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Command;
use crate::exit::Result;
use crate::output::Output;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mq completions bash > ~/.local/share/bash-completion/completions/mq
  mq completions zsh > ~/.zfunc/_mq
  mq completions fish > ~/.config/fish/completions/mq.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  mq man | man -l -
  mq man backup | man -l -
  mq man > /usr/local/share/man/man1/mq.1";

/// Arguments of `mq completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArguments {
    /// For which shell
    shell: Shell,
}

/// Arguments of `mq man`.
#[derive(Debug, clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArguments {
    /// The page of this verb (`backup`, `dlq replay`); of the whole program if there is none
    verb: Vec<String>,
}

/// Runs `mq completions`.
///
/// # Errors
/// When nobody reads the output.
pub(crate) fn completions(arguments: &CompletionsArguments) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Command::command(), "mq", &mut script);
    print(&script)
}

/// Runs `mq man`: roff on standard output.
///
/// # Errors
/// With [`Exit::Usage`](crate::exit::Exit::Usage) if there is no such verb.
pub(crate) fn man(arguments: &ManArguments) -> Result {
    let mut command = Command::command();
    command.build();
    let mut path = "mq".to_owned();
    for word in &arguments.verb {
        let below = command.find_subcommand(word).cloned();
        let missing = || crate::exit::Failure::usage(format_args!("{path} has no verb {word:?}."));
        command = below.ok_or_else(missing)?;
        path = format!("{path}-{word}");
    }
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command).title(path);
    man.render(&mut page)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result {
    let mut output = Output::new(std::io::stdout());
    output.bytes(bytes)?;
    Ok(output.flush()?)
}
