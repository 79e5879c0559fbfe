//! Errors of the kernel in our words.
//!
//! What our own handlers raise passes the kernel as the source of a generic error and comes out as itself. The rest is
//! told apart by what a reader of the message can do: use another server, bring a file back, mend the table.

use crate::error::Error;
use delta_kernel::KernelError;

/// Returns an error of ours in a form that passes the kernel.
pub(super) fn raise(error: Error) -> KernelError {
    KernelError::generic_err(error)
}

/// Returns a store's error for the kernel, which must know when a file is not there.
pub(super) fn from_store(error: object_store::Error) -> KernelError {
    match error {
        missing @ object_store::Error::NotFound { .. } => missing.into(),
        other => raise(other.into()),
    }
}

/// Returns the kernel's error about the table whose log is at `log`.
pub(super) fn explain(log: &str, error: KernelError) -> Error {
    match error {
        KernelError::Backtraced { source, .. } => explain(log, *source),
        KernelError::GenericError { source } => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => corrupt(log, &other),
        },
        KernelError::FileNotFound(path) => {
            let source = "the log of a Delta table names it".into();
            object_store::Error::NotFound { path, source }.into()
        }
        KernelError::ObjectStore(error) => error.into(),
        KernelError::Unsupported(message) => Error::NotSupported { feature: feature(&message) },
        KernelError::MaxCatalogVersion(_) => Error::NotSupported {
            feature: "a Delta table whose commits a catalog service keeps (catalogManaged)"
                .to_owned(),
        },
        KernelError::Schema(message) if message.contains(FOREIGN_TYPE) => {
            let (_, name) = message.rsplit_once(FOREIGN_TYPE).unwrap_or_default();
            Error::NotSupported { feature: format!("a Delta column of the type {name}") }
        }
        other => corrupt(log, &other),
    }
}

/// What the kernel says before the name of a type that it has not.
const FOREIGN_TYPE: &str = "Unsupported Delta table type: ";

/// Turns the kernel's sentence on what it has not into the name of that thing.
fn feature(message: &str) -> String {
    let quoted = message.strip_prefix("Feature '").and_then(|rest| rest.split_once('\''));
    if let Some((name, _)) = quoted {
        return format!("the Delta table feature \"{name}\"");
    }
    if let Some(version) = message.strip_prefix("Unsupported minimum reader version ") {
        return format!("reader version {version} of the Delta protocol");
    }
    let what = message.lines().next().unwrap_or_default();
    format!("a Delta table of this kind (\"{what}\")")
}

fn corrupt(log: &str, error: &dyn std::fmt::Display) -> Error {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().to_owned();
    Error::CorruptFile { path: log.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: KernelError, expected: &str) {
        assert_eq!(explain("t/_delta_log", error).to_string(), expected);
    }

    #[test]
    fn errors_of_the_kernel_name_what_is_wrong() {
        let unsupported = |text: &str| KernelError::Unsupported(text.to_owned());
        check(
            unsupported("Feature 'brandNew' is not supported"),
            "the Delta table feature \"brandNew\" is not supported",
        );
        check(
            unsupported("Unsupported minimum reader version 9"),
            "reader version 9 of the Delta protocol is not supported",
        );
        check(
            KernelError::Schema("Unsupported Delta table type: 'geometry'".to_owned()),
            "a Delta column of the type 'geometry' is not supported",
        );
        check(
            KernelError::MissingMetadata,
            "file \"t/_delta_log\" is corrupt: No table metadata found in delta log.",
        );
        let ours = Error::NotSupported { feature: "this".to_owned() };
        check(raise(ours), "this is not supported");
        let missing = object_store::Error::NotFound { path: "a".to_owned(), source: "x".into() };
        assert!(matches!(explain("t", from_store(missing)), Error::Store(_)));
    }
}
