//! Cuts a text into statements and backslash commands.
//!
//! Called for `-c`, `-f`, `\i` and for every line typed at the prompt. The one idea: only what can hide a semicolon is
//! understood (strings, quoted names, comments, dollar quotes); everything else is the server's to judge.

/// One thing to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A statement without its semicolon, and the line it starts on, from 1.
    Statement {
        /// The text.
        sql: &'a str,
        /// Line in the whole text, from 1.
        first_line: usize,
    },
    /// A backslash command without its backslash, up to the end of the line.
    Command(&'a str),
}

/// Iterator over the items of a text. Statements without any token are left out.
pub struct Items<'a> {
    text: &'a str,
    offset: usize,
}

/// Returns the items of a text; the last statement needs no semicolon.
pub fn items(text: &str) -> Items<'_> {
    Items { text, offset: 0 }
}

/// Returns whether a text can be run as it stands: nothing is open and the last statement has its semicolon.
pub fn is_complete(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = &rest[blank_len(rest)..];
        if rest.is_empty() {
            return true;
        }
        if rest.starts_with('\\') {
            rest = rest.split_once('\n').map_or("", |(_, tail)| tail);
            continue;
        }
        match statement_len(rest) {
            (len, true) => rest = &rest[len + 1..],
            (_, false) => return false,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            self.offset += blank_len(&self.text[self.offset..]);
            let rest = &self.text[self.offset..];
            if rest.is_empty() {
                return None;
            }
            if let Some(command) = rest.strip_prefix('\\') {
                let line = command.split('\n').next().unwrap_or_default();
                self.offset += 1 + line.len();
                return Some(Item::Command(line.trim()));
            }
            let (len, ended) = statement_len(rest);
            let first_line = self.text[..self.offset].matches('\n').count() + 1;
            self.offset += len + usize::from(ended);
            if len > 0 {
                return Some(Item::Statement { sql: rest[..len].trim_end(), first_line });
            }
        }
    }
}

/// Returns the length of white space and comments at the start of a text.
fn blank_len(text: &str) -> usize {
    let mut len = 0;
    loop {
        let rest = &text[len..];
        let spaces = rest.len() - rest.trim_start().len();
        let comment = match rest.as_bytes() {
            [b'-', b'-', ..] | [b'/', b'*', ..] => token_len(rest),
            _ => 0,
        };
        // An open comment is no blank: at the prompt its end is still to come.
        let open = comment > 0 && rest.starts_with("/*") && !rest[..comment].ends_with("*/");
        if (spaces == 0 && comment == 0) || open {
            return len;
        }
        len += spaces.max(comment);
    }
}

/// Returns the length of the first statement and whether a semicolon ends it.
fn statement_len(text: &str) -> (usize, bool) {
    let mut len = 0;
    while len < text.len() {
        let rest = &text[len..];
        if rest.starts_with(';') {
            return (len, true);
        }
        len += token_len(rest);
    }
    (text.len(), false)
}

/// Returns the length of the first piece of a text that cannot be cut; an open one reaches to the end of the text.
fn token_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes {
        [b'\'', ..] => quoted_len(text, b'\'', false),
        [b'"', ..] => quoted_len(text, b'"', false),
        [b'e' | b'E', b'\'', ..] => 1 + quoted_len(&text[1..], b'\'', true),
        [b'-', b'-', ..] => text.find('\n').unwrap_or(text.len()),
        [b'/', b'*', ..] => block_comment_len(bytes),
        [b'$', ..] => dollar_quoted_len(text),
        [first, ..] if first.is_ascii_alphanumeric() || *first == b'_' => word_len(bytes),
        _ => text.chars().next().map_or(1, char::len_utf8),
    }
}

/// Returns the length of a word. A `$` inside belongs to it; a quote does not.
fn word_len(bytes: &[u8]) -> usize {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    bytes.iter().take_while(|byte| in_word(byte)).count()
}

/// Returns the length of a quoted text; a doubled quote does not end it, a backslash escapes where `escapes` says so.
fn quoted_len(text: &str, quote: u8, escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut idx = 1;
    while idx < bytes.len() {
        match bytes[idx] {
            b'\\' if escapes => idx += 2,
            byte if byte == quote && bytes.get(idx + 1) == Some(&quote) => idx += 2,
            byte if byte == quote => return idx + 1,
            _ => idx += 1,
        }
    }
    text.len()
}

/// Returns the length of a block comment; they nest, as in PostgreSQL.
fn block_comment_len(bytes: &[u8]) -> usize {
    let mut depth = 0;
    let mut idx = 0;
    while idx < bytes.len() {
        match &bytes[idx..] {
            [b'/', b'*', ..] => {
                depth += 1;
                idx += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                idx += 2;
                if depth == 0 {
                    return idx;
                }
            }
            _ => idx += 1,
        }
    }
    bytes.len()
}

/// Returns the length of a dollar-quoted text, or 1 for a `$` that opens none, as in `$1`.
fn dollar_quoted_len(text: &str) -> usize {
    let Some(tag_len) = text[1..].find('$') else { return 1 };
    let tag = &text[..tag_len + 2];
    let name = &tag[1..=tag_len];
    let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_tag {
        return 1;
    }
    let body = &text[tag.len()..];
    body.find(tag).map_or(text.len(), |end| tag.len() + end + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = items(text)
            .map(|item| match item {
                Item::Statement { sql, .. } => sql.to_string(),
                Item::Command(line) => format!("\\{line}"),
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn statements_end_at_semicolons() {
        check("select 1; select 2 ;\n", &["select 1", "select 2"]);
        check(" ;; select 1", &["select 1"]);
        check("", &[]);
        check("-- nothing\n/* here */", &[]);
    }

    #[test]
    fn hidden_semicolons_do_not_cut() {
        for text in [
            "select ';'",
            "select 'it''s; here'",
            "select \"a;b\" from t",
            "select 1 -- one; two\n + 2",
            "select /* a; /* b; */ c; */ 1",
            "select $$a;b$$",
            "select $tag$a;$$;b$tag$",
            "select E'a\\';b'",
            "select 'ä;ö'",
        ] {
            check(&format!("{text}; select 2"), &[text, "select 2"]);
        }
    }

    #[test]
    fn what_only_looks_like_a_quote_does_not_hide() {
        check("select $1; select $2", &["select $1", "select $2"]);
        check("select a$b; select c$d", &["select a$b", "select c$d"]);
        check("select 'a\\'; select 2", &["select 'a\\'", "select 2"]);
        check("select nose'x'; select 2", &["select nose'x'", "select 2"]);
    }

    #[test]
    fn commands_end_with_their_line() {
        check(
            "\\timing\nselect 1;\n\\d trips \nselect 2",
            &["\\timing", "select 1", "\\d trips", "select 2"],
        );
    }

    #[test]
    fn statements_know_their_line() {
        let lines: Vec<usize> = items("select\n1;\n\n-- c\nselect 2;")
            .filter_map(|item| match item {
                Item::Statement { first_line, .. } => Some(first_line),
                Item::Command(_) => None,
            })
            .collect();
        assert_eq!(lines, [1, 5]);
    }

    #[test]
    fn input_is_complete_when_nothing_is_open() {
        for text in
            ["", "  ", "select 1;", "\\d", "select 1; -- done", "select ';';", "\\d\nselect 1;"]
        {
            assert!(is_complete(text), "{text}");
        }
        for text in
            ["select 1", "select ';", "select 1; select", "/* open", "select $$;", "select 1; /*"]
        {
            assert!(!is_complete(text), "{text}");
        }
    }
}
