//! The README's blocks are run, so that what a newcomer pastes works.
//!
//! A fenced block is a test when an HTML comment above it says so: `<!-- test: NAME -->`. The block's own language says
//! how it runs on a server over a copy of `data/sample/taxi`: `sql` in psql, `sh` in the shell, `python` with the packages
//! of `tests/requirements.txt`.
//! Addresses of the default ports are replaced by those of the test's server.

use crate::harness::{Python, Server, copy_folder, psql_command, source_root};
use crate::lake::Lake;
use std::process::Command;

/// One tested block.
struct Block {
    name: String,
    language: String,
    text: String,
}

/// Returns the blocks of the README that are marked as tests.
fn tested_blocks() -> Vec<Block> {
    let Ok(readme) = std::fs::read_to_string(source_root().join("README.md")) else {
        return Vec::new();
    };
    let mut blocks = Vec::new();
    for part in readme.split("<!-- test: ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("the comment ends");
        let (_, fenced) = rest.split_once("```").expect("a fenced block follows the comment");
        let (language, rest) = fenced.split_once('\n').expect("the fence ends its line");
        let (text, _) = rest.split_once("```").expect("the fence is closed");
        let (name, language) = (name.to_owned(), language.trim().to_owned());
        blocks.push(Block { name, language, text: text.to_owned() });
    }
    blocks
}

fn with_real_addresses(text: &str, server: &Server) -> String {
    let (host, pg_port) = server.pg.rsplit_once(':').expect("addresses are host:port");
    let (_, flight_port) = server.flight.rsplit_once(':').expect("addresses are host:port");
    let (_, http_port) = server.http.rsplit_once(':').expect("addresses are host:port");
    text.replace("localhost", host)
        .replace("5433", pg_port)
        .replace("5434", flight_port)
        .replace("5435", http_port)
}

#[test]
fn readme_blocks_run() {
    let lake = Lake::empty();
    copy_folder(&source_root().join("data/sample/taxi"), lake.path());
    let server = Server::standalone(&lake);
    let blocks = tested_blocks();
    assert!(blocks.len() >= 3, "the README has tested blocks");
    for block in blocks {
        let text = with_real_addresses(&block.text, &server);
        let output = match block.language.as_str() {
            "sql" => psql_command(&server.pg).args(["--command", &text]).output().unwrap(),
            "sh" => Command::new("sh").args(["-c", &text]).output().unwrap(),
            "python" => match Python::find() {
                Some(python) => python.run(&text, &[]),
                None => return,
            },
            other => panic!("{}: no way to run {other}", block.name),
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}\n{errors}", block.name);
    }
}
