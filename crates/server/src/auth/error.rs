//! A mistake in the settings of who may ask.

/// A setting that can't be obeyed, with its place, so that the start stops and `check-config` can point at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct AuthError {
    /// Where it stands, from the table of these settings on: `sources[1].in[0]`.
    pub path: String,
    /// What is wrong and what to do, in a sentence. Never holds a secret.
    pub message: String,
}

impl AuthError {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        AuthError { path: path.into(), message: message.into() }
    }
}
