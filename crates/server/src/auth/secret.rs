//! Text that is never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::AuthError;

/// A secret. Its Debug hides it and it has no Display, so that it can't reach a log line or an error by accident.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself. Hand it only to what checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The ways to say one secret, of which one may be used.
pub(super) struct SecretFrom<'a> {
    pub value: Option<&'a Secret>,
    pub file: Option<&'a PathBuf>,
    pub env: Option<&'a String>,
}

impl SecretFrom<'_> {
    /// Reads the secret, or `None` when no way was given. White space around what a file holds is dropped: editors
    /// and `echo` put a line end there.
    pub fn read(&self, base: &Path, path: &str) -> Result<Option<Secret>, AuthError> {
        let secret = match (self.value, self.file, self.env) {
            (None, None, None) => return Ok(None),
            (Some(value), None, None) => value.clone(),
            (None, Some(file), None) => Secret(read_file(base, file, &format!("{path}_file"))?.trim().to_owned()),
            (None, None, Some(name)) => Secret(std::env::var(name).map_err(|_| {
                AuthError::new(format!("{path}_env"), format!("the environment has no readable variable {name:?}"))
            })?),
            _ => return Err(AuthError::new(path, "it is said in more than one way; keep one of them")),
        };
        if secret.expose().is_empty() {
            return Err(AuthError::new(path, "it is empty"));
        }
        Ok(Some(secret))
    }
}

/// The text of a file that settings name; a relative path starts at `base`.
pub(super) fn read_file(base: &Path, file: &Path, path: &str) -> Result<String, AuthError> {
    let file = base.join(file);
    std::fs::read_to_string(&file)
        .map_err(|error| AuthError::new(path, format!("{} can't be read: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_by_debug() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2"))), "Some((hidden))");
    }

    #[test]
    fn a_secret_comes_from_one_place_and_loses_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "s3cret\n").unwrap();
        let file = PathBuf::from("key");
        let from = SecretFrom { value: None, file: Some(&file), env: None };
        assert_eq!(from.read(dir.path(), "secret").unwrap().unwrap().expose(), "s3cret");
        let both = SecretFrom { value: Some(&"x".into()), file: Some(&file), env: None };
        assert_eq!(both.read(dir.path(), "secret").unwrap_err().path, "secret");
        let missing = PathBuf::from("none");
        let from = SecretFrom { value: None, file: Some(&missing), env: None };
        assert_eq!(from.read(dir.path(), "secret").unwrap_err().path, "secret_file");
    }
}
