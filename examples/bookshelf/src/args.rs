//! What is said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::Settings;

/// KiB of memory for the hash of a password (OWASP's least for Argon2id).
pub const PASSWORD_KIB: u32 = 19 << 10;

/// A shelf of books whose pages hear of changes
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "bookshelf", version)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// Where the database, the log and the files are kept
    #[arg(long, value_name = "DIR", default_value = "data/bookshelf", global = true)]
    pub data: PathBuf,
    /// Where books are dropped [default: `drop` in the data directory]
    #[arg(long, value_name = "DIR")]
    pub watch: Option<PathBuf>,
    /// Where the built pages are
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist"))]
    pub web: PathBuf,
    /// What is told, and to whom
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/profile.toml"))]
    pub profile: PathBuf,
    /// The origin of the pages, as https://books.example.org, behind a proxy that changes Host. May be given several times
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = origin)]
    pub origins: Vec<String>,
    /// How long a download takes
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = seconds)]
    pub download_seconds: Duration,
    /// How long the look-up of one author takes
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = seconds)]
    pub look_up_seconds: Duration,
    /// Fill an empty database with users (admin, ann, ben; the password is the name) and books; on this machine only
    #[arg(long)]
    pub demo: bool,
    /// What else to do than to serve
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does beside serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Add somebody who can log in. The password is read from the standard input; where nothing is given there, one is made up and printed
    AddUser {
        /// What they log in as
        #[arg(long)]
        name: String,
        /// Let them see all books and do everything
        #[arg(long)]
        admin: bool,
    },
}

impl Args {
    /// How the app is to be run.
    ///
    /// # Errors
    /// Where the demo, whose passwords everybody knows, would listen to other machines.
    pub fn settings(self) -> Result<Settings, String> {
        if self.demo && !self.listen.ip().is_loopback() {
            let listen = self.listen;
            return Err(format!(
                "--demo has users whose passwords everybody knows, so it listens on this machine only, and not on {listen}.\n\
                 Leave --demo away and add users with `bookshelf add-user`, or listen on 127.0.0.1."
            ));
        }
        Ok(Settings {
            listen: self.listen,
            watch: self.watch.unwrap_or_else(|| self.data.join("drop")),
            data: self.data,
            web: self.web,
            profile: self.profile,
            origins: self.origins,
            download: self.download_seconds,
            look_up: self.look_up_seconds,
            password_kib: PASSWORD_KIB,
            demo: self.demo,
        })
    }
}

/// An origin as browsers write it (RFC 6454 §6.1).
fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let is_host = host.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    let is_lower = !text.contains(|c: char| c.is_ascii_uppercase());
    let refused = || format!("{text:?} is no origin as https://books.example.org: in lower case, with no path");
    (is_host && is_lower).then(|| text.to_owned()).ok_or_else(refused)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("it is 0 to 86400 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}
