//! Who may come in: users and their password verifiers, the same for all doors.
//!
//! Read once at start from the users file: a line a user, `name:SCRAM-SHA-256$iterations:salt$stored key:server key`,
//! the form PostgreSQL keeps in `pg_authid`. A password is never stored and, over the PostgreSQL protocol, never sent.
//! An unknown user takes as long as a wrong password, so that names cannot be found out.

use crate::error::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use pgwire::api::auth::sasl::scram::{ScramSecret, gen_salted_password};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Rounds of hashing that PostgreSQL 15 uses too.
const ITERATIONS: usize = 4096;
/// Bytes of a salt that PostgreSQL uses too.
const SALT_BYTES: usize = 16;
/// Bytes of a SHA-256 key.
const KEY_BYTES: usize = 32;
/// How a verifier starts.
const SCHEME: &str = "SCRAM-SHA-256";

/// What proves that a client knows a password.
#[derive(Clone, PartialEq, Eq)]
struct Verifier {
    iterations: usize,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// Everyone who may come in.
pub struct Users {
    by_name: HashMap<String, Verifier>,
    /// Makes up verifiers for names that do not exist: the same for the same name, as long as the process lives.
    secret: Vec<u8>,
    /// By name, a cheap keyed hash of the password that was right: protocols without connections send it each time.
    accepted: Mutex<HashMap<String, Vec<u8>>>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("n_users", &self.by_name.len()).finish()
    }
}

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    /// When it cannot be read or a line is not a user.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            action: format!("cannot read the users file \"{}\"", path.display()),
            source,
        })?;
        Self::parse(&text).map_err(|message| Error::Config {
            message: format!("users file \"{}\": {message}", path.display()),
            hint: Some("saltlake password NAME makes a line".to_string()),
        })
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut by_name = HashMap::new();
        for (idx, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = line
                .split_once(':')
                .and_then(|(name, verifier)| Some((name, Verifier::parse(verifier)?)))
                .filter(|(name, _)| !name.is_empty());
            let Some((name, verifier)) = user else {
                return Err(format!("line {} is not name:{SCHEME}$…", idx + 1));
            };
            if by_name.insert(name.to_string(), verifier).is_some() {
                return Err(format!("line {}: the user {name} is there twice", idx + 1));
            }
        }
        let secret = random(KEY_BYTES).map_err(|error| error.to_string())?;
        Ok(Self { by_name, secret, accepted: Mutex::default() })
    }

    /// Returns what a SCRAM exchange needs. For an unknown name it is made up, and no password fits it.
    pub fn scram_secret(&self, name: &str) -> ScramSecret {
        match self.by_name.get(name) {
            Some(verifier) => verifier.secret(),
            None => self.decoy(name).secret(),
        }
    }

    /// Returns whether a password is the user's.
    pub fn accepts(&self, name: &str, password: &str) -> bool {
        let quick = gen_salted_password(password, &self.secret, 1);
        if self.accepted.lock().get(name).is_some_and(|known| same(known, &quick)) {
            return true;
        }
        let decoy;
        let (verifier, exists) = match self.by_name.get(name) {
            Some(verifier) => (verifier, true),
            None => {
                decoy = self.decoy(name);
                (&decoy, false)
            }
        };
        let given = Verifier::of(password, &verifier.salt, verifier.iterations);
        let accepted = same(&given.stored_key, &verifier.stored_key) && exists;
        if accepted {
            self.accepted.lock().insert(name.to_string(), quick);
        }
        accepted
    }

    fn decoy(&self, name: &str) -> Verifier {
        let mut seed = self.secret.clone();
        seed.extend_from_slice(name.as_bytes());
        let salt = gen_salted_password("salt", &seed, 1).into_iter().take(SALT_BYTES).collect();
        let key = gen_salted_password("key", &seed, 1);
        Verifier { iterations: ITERATIONS, salt, stored_key: key.clone(), server_key: key }
    }
}

impl Verifier {
    fn parse(text: &str) -> Option<Self> {
        let [scheme, hashing, keys] = parts(text, '$')?;
        let [iterations, salt] = parts(hashing, ':')?;
        let [stored_key, server_key] = parts(keys, ':')?;
        let decode = |text: &str| BASE64_STANDARD.decode(text).ok();
        let key = |text: &str| decode(text).filter(|key| key.len() == KEY_BYTES);
        Some(Self {
            iterations: iterations.parse().ok().filter(|n| scheme == SCHEME && *n > 0)?,
            salt: decode(salt).filter(|salt| !salt.is_empty())?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    fn of(password: &str, salt: &[u8], iterations: usize) -> Self {
        let salted = gen_salted_password(password, salt, iterations);
        let secret = ScramSecret::verifier_from_salted_password(salt.to_vec(), salted, iterations);
        match secret {
            ScramSecret::Verifier { salt, iterations, stored_key, server_key } => {
                Self { iterations, salt, stored_key, server_key }
            }
            ScramSecret::SaltedPassword { salt, salted_password } => Self {
                iterations,
                salt,
                stored_key: salted_password.clone(),
                server_key: salted_password,
            },
        }
    }

    fn secret(&self) -> ScramSecret {
        let Self { iterations, salt, stored_key, server_key } = self.clone();
        ScramSecret::Verifier { salt, iterations, stored_key, server_key }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let (salt, stored) = (encode(&self.salt), encode(&self.stored_key));
        let server = encode(&self.server_key);
        write!(f, "{SCHEME}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Returns the line of the users file for a user.
///
/// # Errors
/// When the name cannot be one, or the system has no random numbers.
pub fn users_line(name: &str, password: &str) -> Result<String> {
    if name.is_empty() || name.starts_with('#') || name.contains([':', '\n', '\r']) {
        return Err(Error::Config {
            message: format!("\"{name}\" cannot be a user's name"),
            hint: Some("a name has no colon and does not start with #".to_string()),
        });
    }
    let salt = random(SALT_BYTES)?;
    Ok(format!("{name}:{}", Verifier::of(password, &salt, ITERATIONS)))
}

fn random(n_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; n_bytes];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Internal { message: format!("no random numbers: {error}") })?;
    Ok(bytes)
}

/// Compares without telling by the time it takes where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |seen, (l, r)| seen | (l ^ r));
    left.len() == right.len() && difference == 0
}

fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15 keeps for user ann with the password `secret`.
    const ANN: &str = "ann:SCRAM-SHA-256$4096:tpfVgFOiAUxtyFBVArV6eQ==$cfNv4tmDY83F/8qAhRibqpJlyaE5fCXQS+EtfI4Kn8g=:lOncb9UcAerTqJZtchsRZW0aJHVo8bBdegNrvI6IolE=";

    #[test]
    fn verifiers_of_postgres_are_understood() {
        let users = Users::parse(&format!("# people\n\n{ANN}\n")).unwrap();
        assert!(users.accepts("ann", "secret"));
        assert!(!users.accepts("ann", "Secret"));
        assert!(!users.accepts("bob", "secret"));
    }

    #[test]
    fn a_line_we_make_is_read_back() {
        let line = users_line("bob", "pässword").unwrap();
        let users = Users::parse(&line).unwrap();
        assert!(users.accepts("bob", "pässword"));
        assert!(!users.accepts("bob", "password"));
        assert!(users_line("a:b", "x").is_err());
    }

    #[test]
    fn a_wrong_line_is_named() {
        for text in ["ann", "ann:secret", "ann:SCRAM-SHA-256$0:AA==$AA==:AA==", ":x"] {
            assert!(Users::parse(text).unwrap_err().starts_with("line 1"), "{text}");
        }
        assert!(Users::parse(&format!("{ANN}\n{ANN}")).unwrap_err().contains("twice"));
    }

    #[test]
    fn unknown_names_have_a_salt_that_stays() {
        let users = Users::parse("").unwrap();
        assert!(users.decoy("x") == users.decoy("x") && users.decoy("x") != users.decoy("y"));
    }
}
