//! A model that sees, behind the chat completions that OpenAI has made and many serve
//! (<https://platform.openai.com/docs/api-reference/chat/create>): theirs, or one on the operator's own machine.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use super::photo::{Photo, blocking};
use super::spine::{Spine, Word};
use crate::http::{self, BodyError};
use crate::report::Failure;

/// The longer side of the photo that is sent, in pixels. Models scale larger ones down themselves.
const SIDE: u32 = 2048;

/// The most bytes of an answer: a list of sixty books has ten KB.
const ANSWER: usize = 1 << 20;

/// The most spines that are taken from an answer, and the longest text of one, in characters.
const SPINES: usize = 200;
const TEXT: usize = 500;

/// What the model is asked.
const PROMPT: &str = "This photo shows a bookshelf. List the books whose spines you can read, from left to right. \
    Answer with JSON only, no other text: an array of objects \
    {\"title\": string, \"author\": string or null, \"confidence\": number from 0 to 1}. Write titles and authors as \
    they are printed. Leave out what you cannot read; do not guess. If there is no book, answer [].";

/// An endpoint.
#[derive(Clone, Debug)]
pub struct Vision {
    /// Its base, with the version: `https://api.openai.com/v1`, `http://localhost:11434/v1`.
    pub base_url: String,
    /// The model, as the endpoint names it. It must take images.
    pub model: String,
    /// The key, if it wants one.
    pub api_key: Option<Key>,
    /// The longest it may take. Models take 5 to 30 s for a shelf; one on a small machine takes minutes.
    pub timeout: Duration,
}

/// A key that is not shown.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// A key.
    pub fn new(key: impl Into<String>) -> Self {
        Key(key.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Vision {
    /// The spines that the model reads.
    pub async fn read(&self, photo: Photo) -> Result<Vec<Spine>, Failure> {
        let jpeg = blocking(move || photo.jpeg(SIDE)).await??;
        let image = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg));
        let question = json!({
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": PROMPT},
                {"type": "image_url", "image_url": {"url": image}},
            ]}],
        });
        spines(&content(&self.ask(&question).await?)?)
    }

    async fn ask(&self, question: &Value) -> Result<Value, Failure> {
        let url = format!("{}/chat/completions", self.base_url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| {
            Failure::new("vision-settings", format!("the address {url:?} of the model is wrong: {error}"))
        })?;
        let client = http::client(&url)
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new("vision-settings", format!("no HTTP client can be made: {error}")))?;
        let mut request = client.post(url).json(question);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(&key.0);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = http::body(response, ANSWER).await.map_err(|error| match error {
            BodyError::Broken(error) => self.unreachable(&error),
            BodyError::TooLarge => not_understood(&format!("it has more than {ANSWER} bytes")),
        })?;
        let answer: Result<Value, _> = serde_json::from_slice(&body);
        if !status.is_success() {
            return Err(refused(status, answer.ok().as_ref()));
        }
        answer.map_err(|_| not_understood("it is no JSON"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            format!("it took longer than {} s", self.timeout.as_secs_f32())
        } else {
            "it can't be reached".to_string()
        };
        Failure::passing("vision-unreachable", format!("the model at {} gave no answer: {why}", self.base_url))
    }
}

fn refused(status: StatusCode, answer: Option<&Value>) -> Failure {
    let said = answer.and_then(|answer| answer["error"]["message"].as_str()).unwrap_or("without a reason");
    let said: String = said.chars().take(300).collect();
    let sentence = format!("the model refused with status {}: {said}", status.as_u16());
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Failure::passing("vision-unreachable", sentence);
    }
    Failure::new("vision-refused", sentence)
}

/// Another try may help: a model does not answer the same twice.
fn not_understood(why: &str) -> Failure {
    Failure::passing("vision-answer", format!("the model's answer was not understood: {why}"))
}

/// What the model wrote.
fn content(answer: &Value) -> Result<String, Failure> {
    let message = &answer["choices"][0]["message"];
    if let Some(refusal) = message["refusal"].as_str() {
        let refusal: String = refusal.chars().take(300).collect();
        return Err(Failure::new("vision-refused", format!("the model refused: {refusal}")));
    }
    let content = message["content"].as_str().ok_or_else(|| not_understood("it has no choices[0].message.content"))?;
    Ok(content.to_owned())
}

/// The books in what the model wrote: an array, or an object with one, which may stand in a fence or among words.
fn spines(content: &str) -> Result<Vec<Spine>, Failure> {
    let list = list(content).ok_or_else(|| {
        let said: String = content.chars().take(100).collect();
        not_understood(&format!("it holds no list of books: {said:?}"))
    })?;
    Ok(list.iter().filter_map(spine).take(SPINES).collect())
}

fn list(content: &str) -> Option<Vec<Value>> {
    let begins = content.match_indices(['[', '{']).map(|(place, _)| place);
    // The first that reads as JSON. Only a few are tried: prose may be full of brackets.
    begins.take(8).find_map(|place| {
        let value = serde_json::Deserializer::from_str(&content[place..]).into_iter::<Value>().next()?.ok()?;
        match value {
            Value::Array(list) if list.iter().all(Value::is_object) => Some(list),
            Value::Object(members) if members.contains_key("title") => Some(vec![Value::Object(members)]),
            Value::Object(members) => members.into_iter().find_map(|(_, member)| match member {
                Value::Array(list) if list.iter().all(Value::is_object) => Some(list),
                _ => None,
            }),
            _ => None,
        }
    })
}

fn spine(entry: &Value) -> Option<Spine> {
    let text = |name: &str| {
        let text: String = entry[name].as_str()?.trim().chars().filter(|c| !c.is_control()).take(TEXT).collect();
        (!text.is_empty()).then_some(text)
    };
    let title = text("title")?;
    let author = text("author");
    let confidence = entry["confidence"].as_f64().filter(|sure| (0.0..=1.0).contains(sure));
    let words = title.split_whitespace().chain(author.iter().flat_map(|author| author.split_whitespace()));
    let words = words.map(|text| Word { text: text.into(), confidence }).collect();
    Some(Spine { words, title: Some(title), author, parts: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(content: &str) -> Result<Vec<String>, String> {
        let read = spines(content).map_err(|failure| failure.message)?;
        Ok(read.into_iter().filter_map(|spine| spine.title).collect())
    }

    #[test]
    fn a_list_is_found_plain_in_a_fence_in_an_object_and_among_words() {
        for content in [
            r#"[{"title": "Dune", "author": "Frank Herbert", "confidence": 0.9}]"#,
            "```json\n[{\"title\": \"Dune\"}]\n```",
            "```\n{\"books\": [{\"title\": \" Dune \"}]}\n```\nDone.",
            "Here [as asked] is the list: [{\"title\": \"Dune\", \"confidence\": \"high\"}] Enjoy {it}!",
            r#"{"title": "Dune", "author": null}"#,
            r#"[{"title": "Dune"}, {"title": ""}, {"author": "Nobody"}, {"title": 7}]"#,
        ] {
            assert_eq!(titles(content), Ok(vec!["Dune".to_string()]), "{content}");
        }
        assert_eq!(titles("[]"), Ok(vec![]));
    }

    #[test]
    fn an_answer_without_a_list_is_an_error_with_its_beginning() {
        for content in ["", "I see Dune.", "[1, 2]", "{\"books\": \"Dune\"}", "[{\"title\": \"Du", "null"] {
            let error = titles(content).unwrap_err();
            assert!(error.starts_with("the model's answer was not understood: it holds no list"), "{error}");
        }
    }

    #[test]
    fn an_answer_of_a_megabyte_of_books_is_bounded() {
        let long = "x".repeat(5000);
        let content = serde_json::to_string(&vec![json!({ "title": long }); 300]).unwrap();
        let read = titles(&content).unwrap();
        assert_eq!((read.len(), read[0].len()), (SPINES, TEXT));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key::new("sk-secret")), "Key(…)");
    }
}
