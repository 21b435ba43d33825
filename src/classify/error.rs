//! What can be wrong with a service file.

/// A service file that cannot be used. Its text names the file, the line and the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not TOML.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// File as the user named it, or `services/<id>.toml` for a built-in one.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What the TOML parser says.
        message: String,
    },
    /// A key is unknown, missing, of the wrong type or out of range.
    #[error("{file}:{line}: {key}: {message}")]
    Key {
        /// File.
        file: String,
        /// Line of the key or its value, from 1.
        line: usize,
        /// Path of the key inside its service, e.g. `domain[2]` (counted from 1) or `domain[2].db`.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

impl LoadError {
    /// Line of the fault, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. } | Self::Key { line, .. } => *line,
        }
    }
}
