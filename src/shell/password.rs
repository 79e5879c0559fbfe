//! Asks for a password at the terminal, which does not show it.

use super::diagnostic::Failure;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::history::DefaultHistory;
use rustyline::{ColorMode, Completer, Config, Editor, Helper, Hinter, Validator};
use std::borrow::Cow;

/// Shows nothing of what is typed.
#[derive(Completer, Helper, Hinter, Validator)]
struct Hidden;

impl Highlighter for Hidden {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned("*".repeat(line.chars().count()))
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        true
    }
}

/// Reads a password; blocks until it is typed.
///
/// # Errors
/// When the terminal cannot be read or the user leaves.
pub(super) fn ask(user: &str) -> Result<String, Failure> {
    let unreadable = |error| Failure::usage(format!("cannot read a password: {error}"));
    let config = Config::builder().color_mode(ColorMode::Forced).build();
    let mut editor = Editor::<Hidden, DefaultHistory>::with_config(config).map_err(unreadable)?;
    editor.set_helper(Some(Hidden));
    editor.readline(&format!("Password for user {user}: ")).map_err(unreadable)
}
