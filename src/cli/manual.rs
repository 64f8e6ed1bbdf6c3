//! `completions` and `man`: made from the same description as the help, so they cannot fall behind.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::write_out;

#[derive(Args)]
#[command(after_help = "\
bash   image-search completions bash > ~/.local/share/bash-completion/completions/image-search
zsh    image-search completions zsh > ~/.zfunc/_image-search
fish   image-search completions fish > ~/.config/fish/completions/image-search.fish")]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub(super) fn completions(mut command: Command, args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "image-search", &mut script);
    write_out(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// The page of the program, then that of each command.
pub(super) fn page(command: &Command) -> anyhow::Result<ExitCode> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut roff)?;
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        writeln!(roff, ".SH \"COMMAND {}\"", sub.get_name())?;
        let man = clap_mangen::Man::new(sub.clone());
        man.render_description_section(&mut roff)?;
        man.render_options_section(&mut roff)?;
    }
    write_out(&String::from_utf8_lossy(&roff));
    Ok(ExitCode::SUCCESS)
}
