//! Which server the shell connects to, as whom, and how: read from `--url` and flags.
//!
//! The words are libpq's: a user and a password in the address, `sslmode` and `sslrootcert` behind its `?`. The address
//! counts before the flags, and those before variables such as `PGPASSWORD`.

use super::LoginArgs;
use super::diagnostic::Failure;
use std::path::PathBuf;
use url::{Url, form_urlencoded};

/// Default port of the Flight SQL frontend.
const DEFAULT_PORT: u16 = 5434;

/// A server to connect to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port`.
    pub address: String,
    /// The name that the server's certificate must be for.
    pub host: String,
    /// Who logs in; nobody where the server asks for no one.
    pub user: Option<String>,
    /// With which password, if it is known already.
    pub password: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: Option<Tls>,
}

/// How a server's certificate is checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// Certificates that are trusted, PEM.
    pub root: PathBuf,
}

impl Target {
    /// Reads an address, given as `http://host:port`, `grpc://host:port` or `host:port`; `https` and `grpc+tls` for an
    /// encrypted connection.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a text that is no address, and for what cannot be offered.
    pub(super) fn parse(text: &str, args: &LoginArgs) -> Result<Self, Failure> {
        let with_scheme =
            if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let url =
            Url::parse(&with_scheme).map_err(|error| Failure::usage(format!("--url: {error}")))?;
        let is_secure = match url.scheme() {
            "http" | "grpc" | "grpc+tcp" => false,
            "https" | "grpc+tls" => true,
            scheme => {
                return Err(Failure::usage(format!(
                    "--url: unknown scheme \"{scheme}\", expected http://HOST:PORT or https://HOST:PORT"
                )));
            }
        };
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err(Failure::usage("--url: no host, expected http://HOST:PORT"));
        }
        let given = |name: &str| {
            let mut pairs = url.query_pairs();
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        if let Some((key, _)) =
            url.query_pairs().find(|(key, _)| !matches!(key.as_ref(), "sslmode" | "sslrootcert"))
        {
            return Err(Failure::usage(format!("--url: unknown parameter \"{key}\"")));
        }
        let mode = given("sslmode").or_else(|| args.sslmode.clone());
        let root = given("sslrootcert").map(PathBuf::from).or_else(|| args.sslrootcert.clone());
        let user = (!url.username().is_empty()).then(|| decoded(url.username()));
        // `Url` hides the ports that are the defaults of their schemes.
        let hidden = [":80", ":443"].into_iter().find(|port| with_scheme.contains(port));
        let hidden = hidden.and_then(|port| port[1..].parse().ok());
        let port = url.port().or(hidden).unwrap_or(DEFAULT_PORT);
        Ok(Self {
            address: format!("{host}:{port}"),
            host: host.trim_matches(['[', ']']).to_string(),
            user: user.or_else(|| args.user.clone()),
            password: url.password().map(decoded).or_else(|| args.password.clone()),
            tls: tls(is_secure, mode.as_deref(), root)?,
        })
    }
}

fn tls(is_secure: bool, mode: Option<&str>, root: Option<PathBuf>) -> Result<Option<Tls>, Failure> {
    let is_encrypted = match (mode, is_secure) {
        (Some("disable"), true) => {
            return Err(Failure::usage("sslmode=disable contradicts the scheme of --url"));
        }
        (None | Some("disable" | "allow" | "prefer"), is_secure) => is_secure,
        (Some("require" | "verify-full"), _) => true,
        (Some(other), _) => {
            return Err(Failure::usage(format!(
                "sslmode={other} is not supported, choose disable, require or verify-full"
            )));
        }
    };
    if !is_encrypted {
        return Ok(None);
    }
    let root = root.or_else(|| {
        let libpqs = std::env::home_dir()?.join(".postgresql/root.crt");
        libpqs.exists().then_some(libpqs)
    });
    root.map(|root| Some(Tls { root })).ok_or_else(|| {
        Failure::usage("an encrypted connection needs the certificate to trust: --sslrootcert FILE")
    })
}

/// Undoes the percent signs of a part of an address.
fn decoded(part: &str) -> String {
    let pair = format!("p={}", part.replace('+', "%2B"));
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        login: LoginArgs,
    }

    fn parse(text: &str, flags: &[&str]) -> Result<Target, Failure> {
        Target::parse(text, &Line::parse_from([&["sql"], flags].concat()).login)
    }

    #[test]
    fn addresses_are_read_in_every_documented_form() {
        for (text, expected) in [
            ("http://127.0.0.1:5434", "127.0.0.1:5434"),
            ("grpc://db.example:9000", "db.example:9000"),
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("localhost", "localhost:5434"),
            ("http://[::1]:5434", "[::1]:5434"),
            ("http://lake:80", "lake:80"),
        ] {
            assert_eq!(parse(text, &[]).expect(text).address, expected);
        }
    }

    #[test]
    fn users_and_certificates_are_those_of_libpq() {
        let text = "https://ann:p%C3%A4ss+1@lake:9?sslmode=verify-full&sslrootcert=/ca.pem";
        let target = parse(text, &["--user", "bob"]).unwrap();
        assert_eq!(target.user.as_deref(), Some("ann"));
        assert_eq!(target.password.as_deref(), Some("päss+1"));
        assert_eq!(target.tls, Some(Tls { root: "/ca.pem".into() }));
        let target = parse("lake", &["--user", "bob", "--sslmode", "prefer"]).unwrap();
        assert_eq!((target.user.as_deref(), target.tls), (Some("bob"), None));
        let flags = ["--sslmode", "require", "--sslrootcert", "/ca.pem"];
        assert!(parse("lake", &flags).unwrap().tls.is_some());
    }

    #[test]
    fn wrong_addresses_are_usage_errors() {
        for text in [
            "ftp://x:1",
            "http://",
            "a b",
            "x:notaport",
            "http://x?sslmode=verify-ca",
            "https://x?sslmode=disable",
            "http://x?colour=red",
        ] {
            let failure = parse(text, &[]).expect_err(text);
            assert_eq!(failure.exit_code(), 2, "{text}");
        }
    }
}
