//! One question and its JSON answer: paced, tried again where that helps, and bounded.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

use super::pace::Pace;
use super::{Error, Settings};
use crate::http::{self, BodyError};

/// The most redirects that are followed: `http` to `https`, and a merged record to the one that stayed.
const REDIRECTS: usize = 3;

/// The longest wait between two tries, whatever doubling makes of it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Asks one host.
#[derive(Debug)]
pub struct Asker {
    http: reqwest::Client,
    base: Url,
    pace: Pace,
    settings: Settings,
}

/// How one try ended that was no success.
enum Trouble {
    /// Another try may help, after this long where the host said so.
    Again(Error, Option<Duration>),
    /// It will not.
    Final(Error),
}

impl Asker {
    /// An asker for `settings.base_url`.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let base = base_url(&settings.base_url)?;
        let http = http::client(&base)
            .user_agent(settings.agent())
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            .build()
            .map_err(|error| Error::Settings(format!("no HTTP client can be made: {}", sentence(&error))))?;
        Ok(Asker { http, base, pace: Pace::new(settings.interval()), settings })
    }

    /// The JSON answer to `GET <base><path>?<query>`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        let mut backoff = self.settings.backoff;
        let mut tries = 0;
        loop {
            self.pace.turn().await;
            let (error, asked) = match self.try_once(path, query).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Again(error, asked)) => (error, asked),
            };
            if let Some(pause) = asked {
                if pause > self.settings.longest_pause {
                    return Err(Error::Busy(format!("it asks for a pause of {} s", pause.as_secs())));
                }
                // It is meant for the program, not for this one question.
                self.pace.pause(pause);
            }
            if tries == self.settings.retries {
                return Err(error);
            }
            tries += 1;
            if asked.is_none() {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }

    async fn try_once(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Trouble> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.http.get(url).query(query).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let pause = retry_after(&response);
            return Err(Trouble::Again(Error::Busy(format!("status {}", status.as_u16())), pause));
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(Trouble::Final(Error::Refused(status.as_u16())));
        }
        if !status.is_success() {
            return Err(unexpected(format!("status {}", status.as_u16())));
        }
        let most = self.settings.answer_bytes;
        let body = http::body(response, most).await.map_err(|error| match error {
            BodyError::Broken(error) => unreachable(error),
            BodyError::TooLarge => unexpected(format!("more than {most} bytes")),
        })?;
        serde_json::from_slice(&body).map_err(|error| unexpected(format!("no JSON ({error})")))
    }
}

/// The base as an address of http or https.
fn base_url(text: &str) -> Result<Url, Error> {
    let wrong = |why: String| Error::Settings(format!("the address of Open Library, {text:?}, {why}"));
    let url = Url::parse(text).map_err(|error| wrong(format!("is none: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(format!("has the scheme {other}, not http or https"))),
    }
}

/// The pause that the host asks for, in seconds (RFC 9110 §10.2.3). Its other form, a date, is not used by Open
/// Library and is taken like no wish at all.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn unreachable(error: reqwest::Error) -> Trouble {
    Trouble::Again(Error::Unreachable(sentence(&error)), None)
}

fn unexpected(why: String) -> Trouble {
    Trouble::Final(Error::Unexpected(why))
}

/// What went wrong without the address, which is long and holds what was asked for; with the innermost cause, which
/// says most ("Connection refused").
fn sentence(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".into();
    }
    let mut cause = error.source();
    let mut innermost = None;
    while let Some(source) = cause {
        innermost = Some(source.to_string());
        cause = source.source();
    }
    innermost.unwrap_or_else(|| "the request failed".into())
}
