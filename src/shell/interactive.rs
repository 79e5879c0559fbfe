//! The prompt: reads a line, runs it, keeps going.
//!
//! Line editing blocks, so it runs on the blocking pool while the runtime goes on (names for completion are read
//! meanwhile). Between two prompts the terminal is in its normal mode, where Ctrl-C is a signal that the runner takes.

use super::commands::Flow;
use super::complete::{Names, PromptHelper, read_names};
use super::diagnostic::Failure;
use super::runner::{Origin, Runner};
use super::script::{Item, items};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};
use std::path::PathBuf;
use std::sync::Arc;

/// Statements the history keeps.
const MAX_HISTORY: usize = 10_000;

const PROMPT: &str = "saltlake> ";

type LineEditor = Editor<PromptHelper, FileHistory>;

/// Reads and runs until the user leaves, and returns the exit code.
///
/// # Errors
/// When the terminal cannot be read.
pub async fn run(mut runner: Runner, history: Option<PathBuf>) -> Result<u8, Failure> {
    let names = Names::default();
    let history = history.or_else(|| Some(std::env::home_dir()?.join(".saltlake_history")));
    let mut editor = open_editor(&runner, Arc::clone(&names), history.as_ref())?;
    runner.printer.notice(&format!(
        "Saltlake {}, {}. \\? for help, \\q to leave.",
        env!("CARGO_PKG_VERSION"),
        runner.backend.describe()
    ));
    refresh_names(&runner, &names);
    loop {
        let line;
        (editor, line) = read_line(editor).await?;
        let text = match line {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::usage(format!("cannot read the terminal: {error}"))),
        };
        remember(&mut editor, &text, history.as_ref());
        if run_text(&mut runner, &text, &names).await == Flow::Quit {
            break;
        }
    }
    Ok(0)
}

/// Runs all items of a text; a failing one ends the text, not the shell.
async fn run_text(runner: &mut Runner, text: &str, names: &Names) -> Flow {
    for item in items(text) {
        match runner.item(item, &Origin::Prompt).await {
            Ok(Flow::Quit) => return Flow::Quit,
            Ok(Flow::Continue) if changes_names(item) => refresh_names(runner, names),
            Ok(Flow::Continue) => {}
            Err(_) => break,
        }
    }
    Flow::Continue
}

fn changes_names(item: Item<'_>) -> bool {
    let Item::Statement { sql, .. } = item else { return false };
    let first = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    matches!(first.as_str(), "CREATE" | "DROP" | "ALTER" | "COPY")
}

/// Reads the names anew in the background; without them only keywords are completed.
fn refresh_names(runner: &Runner, names: &Names) {
    let (backend, names) = (Arc::clone(&runner.backend), Arc::clone(names));
    drop(tokio::spawn(async move {
        if let Err(error) = read_names(backend.as_ref(), &names).await {
            tracing::debug!(%error, "names for completion not read");
        }
    }));
}

fn open_editor(
    runner: &Runner,
    names: Names,
    history: Option<&PathBuf>,
) -> Result<LineEditor, Failure> {
    let refused =
        |error: ReadlineError| Failure::usage(format!("cannot use the terminal: {error}"));
    let colour = if runner.printer.colour() { ColorMode::Enabled } else { ColorMode::Disabled };
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(MAX_HISTORY)
        .map_err(refused)?
        .color_mode(colour)
        .build();
    let mut editor = LineEditor::with_config(config).map_err(refused)?;
    editor.set_helper(Some(PromptHelper::new(names)));
    if let Some(path) = history {
        // No history yet is the normal first start.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

/// Lends the editor to a blocking thread for one line.
async fn read_line(
    mut editor: LineEditor,
) -> Result<(LineEditor, rustyline::Result<String>), Failure> {
    tokio::task::spawn_blocking(move || {
        let line = editor.readline(PROMPT);
        (editor, line)
    })
    .await
    .map_err(|error| Failure::usage(format!("cannot read the terminal: {error}")))
}

/// Keeps a text in the history, in memory and in the file, so that a killed shell loses nothing.
fn remember(editor: &mut LineEditor, text: &str, history: Option<&PathBuf>) {
    let added = !text.trim().is_empty() && editor.add_history_entry(text.trim()).unwrap_or(false);
    if let (true, Some(path)) = (added, history)
        && let Err(error) = editor.append_history(path)
    {
        tracing::debug!(%error, "history not written");
    }
}
