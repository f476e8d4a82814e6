//! The options that say whom to ask about books.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidings_books::openlibrary::{self, CacheSettings};
use tidings_books::scan::{Engine, Key, Tesseract, Vision};

use crate::Failed;

/// How Open Library is asked.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Open Library")]
pub struct OpenLibraryArgs {
    /// Where Open Library is, or a mirror of it
    #[arg(long, value_name = "URL", env = "TIDINGS_BOOKS_OPEN_LIBRARY", default_value = "https://openlibrary.org")]
    open_library: String,
    /// A mail address or a page at which you can be reached. Open Library asks for it and allows three times the rate
    #[arg(long, value_name = "WHO", env = "TIDINGS_BOOKS_CONTACT")]
    contact: Option<String>,
    /// The whole User-Agent, instead of one made of the program's name and --contact
    #[arg(long, value_name = "TEXT", env = "TIDINGS_BOOKS_USER_AGENT")]
    user_agent: Option<String>,
    /// The most requests a second [default: 3 with --contact, 1 without]
    #[arg(long, value_name = "NUMBER", env = "TIDINGS_BOOKS_RATE")]
    rate: Option<f64>,
    /// How often a request that got no answer is made again
    #[arg(long, value_name = "NUMBER", env = "TIDINGS_BOOKS_RETRIES", default_value_t = 3)]
    retries: u32,
    /// Where answers are kept when the program ends [default: nowhere]
    #[arg(long, value_name = "DIR", env = "TIDINGS_BOOKS_CACHE")]
    cache: Option<PathBuf>,
    /// For how many days an answer counts
    #[arg(long, value_name = "DAYS", env = "TIDINGS_BOOKS_CACHE_DAYS", default_value_t = 7)]
    cache_days: u32,
}

impl OpenLibraryArgs {
    /// The settings of its client.
    pub fn settings(&self) -> openlibrary::Settings {
        openlibrary::Settings {
            base_url: self.open_library.clone(),
            contact: given(self.contact.as_deref()).map(str::to_owned),
            user_agent: given(self.user_agent.as_deref()).map(str::to_owned),
            requests_per_second: self.rate,
            retries: self.retries,
            cache: CacheSettings {
                dir: self.cache.clone(),
                ttl: Duration::from_secs(24 * 3600) * self.cache_days,
                ..CacheSettings::default()
            },
            ..openlibrary::Settings::default()
        }
    }

    /// Whether nothing says who asks.
    pub fn is_anonymous(&self) -> bool {
        given(self.contact.as_deref()).is_none() && given(self.user_agent.as_deref()).is_none()
    }
}

/// What reads photos.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Reading of photos")]
pub struct PhotoArgs {
    /// An OpenAI-compatible endpoint that reads photos, with its version, like http://localhost:11434/v1. Without one,
    /// the program tesseract reads them on this machine
    #[arg(long, value_name = "URL", env = "TIDINGS_BOOKS_VISION_URL")]
    vision_url: Option<String>,
    /// Its model, as the endpoint calls it; one that takes images
    #[arg(long, value_name = "NAME", env = "TIDINGS_BOOKS_VISION_MODEL")]
    vision_model: Option<String>,
    /// The file with the key for the endpoint
    #[arg(long, value_name = "FILE", env = "TIDINGS_BOOKS_VISION_KEY_FILE")]
    vision_key_file: Option<PathBuf>,
    /// How long the endpoint may take, in seconds
    #[arg(long, value_name = "SECONDS", env = "TIDINGS_BOOKS_VISION_TIMEOUT", default_value_t = 120)]
    vision_timeout: u64,
    /// The program tesseract [default: the one of this machine]
    #[arg(
        long,
        value_name = "FILE",
        env = "TIDINGS_BOOKS_TESSERACT",
        default_value = "tesseract",
        hide_default_value = true
    )]
    tesseract: PathBuf,
    /// The languages that tesseract reads, as in eng+deu
    #[arg(long, value_name = "LANGUAGES", env = "TIDINGS_BOOKS_LANGUAGES", default_value = "eng")]
    languages: String,
}

impl PhotoArgs {
    /// What reads photos; `None` if nothing is there that could.
    pub fn engine(&self) -> Result<Option<Engine>, Failed> {
        match (given(self.vision_url.as_deref()), given(self.vision_model.as_deref())) {
            (Some(base_url), Some(model)) => return Ok(Some(Engine::Vision(self.vision(base_url, model)?))),
            (Some(_), None) => {
                return Err(Failed("--vision-url needs --vision-model: a model that takes images".into()));
            }
            (None, Some(_)) => return Err(Failed("--vision-model needs --vision-url: where the model is".into())),
            (None, None) => {}
        }
        let tesseract =
            Tesseract { path: self.tesseract.clone(), languages: self.languages.clone(), ..Tesseract::default() };
        Ok(is_there(&self.tesseract).then_some(Engine::Tesseract(tesseract)))
    }

    fn vision(&self, base_url: &str, model: &str) -> Result<Vision, Failed> {
        let key = self.vision_key_file.as_deref().map(key_in).transpose()?;
        Ok(Vision {
            base_url: base_url.to_owned(),
            model: model.to_owned(),
            api_key: key.map(|key| Key::new(key.expose())),
            timeout: Duration::from_secs(self.vision_timeout),
        })
    }
}

/// What an option says. An empty variable of the environment is one that is not set.
fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Whether the program can be started.
fn is_there(program: &Path) -> bool {
    let quiet = std::process::Stdio::null;
    let mut command = std::process::Command::new(program);
    command.arg("--version").stdin(quiet()).stdout(quiet()).stderr(quiet());
    command.status().is_ok_and(|status| status.success())
}

/// A key, which Debug does not show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// For `#[arg(value_parser)]`.
    pub fn parse(text: &str) -> Result<Secret, Infallible> {
        Ok(Secret(text.to_owned()))
    }

    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The key in a file, without the line end that editors put there.
pub fn key_in(file: &Path) -> Result<Secret, Failed> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failed(format!("the key in {} can't be read: {error}", file.display())))?;
    match text.trim() {
        "" => Err(Failed(format!("there is no key in {}: the file is empty", file.display()))),
        key => Ok(Secret(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_file_loses_its_line_end_and_an_empty_one_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "tdg_1\n").unwrap();
        assert_eq!(key_in(&file).unwrap().expose(), "tdg_1");
        std::fs::write(&file, "\n").unwrap();
        assert!(key_in(&file).unwrap_err().to_string().contains("empty"));
        assert!(key_in(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_key_is_not_shown_by_debug() {
        assert!(!format!("{:?}", Secret::parse("hunter2")).contains("hunter2"));
    }
}
