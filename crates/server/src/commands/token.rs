//! `tidings token`: a signed token for trying things out, as an app would make it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};
use tidings::{Clock, SystemClock, Timestamp};

use super::{Failure, end};
use crate::auth::duration;

/// `tidings token`.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    /// Who it is for (`sub`)
    #[arg(long)]
    sub: Option<String>,
    /// A claim, as in role=admin, or roles=["a","b"] for what is JSON. Repeat it for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// The file with the secret that the hub checks it with
    #[arg(long, value_name = "FILE", required_unless_present = "secret_env")]
    secret_file: Option<PathBuf>,
    /// The variable of the environment with the secret
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// How long it is good, as in 1h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    expires: Duration,
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    if name.is_empty() {
        return Err("the claim has no name".into());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Prints the token (HS256, RFC 7515).
pub fn run(args: TokenArgs) -> ExitCode {
    end(make(&args, SystemClock.now()).map(|token| drop(super::print(&format!("{token}\n")))))
}

fn make(args: &TokenArgs, now: Timestamp) -> Result<String, Failure> {
    let secret = match (&args.secret_file, &args.secret_env) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|error| Failure::new(format!("the secret {} can't be read: {error}", file.display())))?
            // As the hub reads it: editors and `echo` put a line end there.
            .trim()
            .to_owned(),
        (None, Some(name)) => std::env::var(name)
            .map_err(|_| Failure::new(format!("the environment has no readable variable {name:?}")))?,
        (None, None) => return Err(Failure::new("the secret is given by --secret-file or --secret-env")),
    };
    if secret.is_empty() {
        return Err(Failure::new("the secret is empty"));
    }
    let mut claims = Map::new();
    claims.extend(args.sub.iter().map(|sub| ("sub".to_owned(), Value::from(sub.as_str()))));
    claims.insert("iat".into(), now.as_secs().into());
    claims.insert("exp".into(), now.after(args.expires).as_secs().into());
    // Last: `--claim exp=0` makes one that has expired.
    claims.extend(args.claim.iter().cloned());
    Ok(sign(secret.as_bytes(), &Value::Object(claims)))
}

fn sign(secret: &[u8], claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jws::{Algorithm, Key, Material, Token};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TokenArgs,
    }

    #[test]
    fn the_hub_reads_the_token_as_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "a secret of enough bytes\n").unwrap();
        let words = ["token", "--sub", "u1", "--claim", "role=admin", "--claim", "roles=[1]", "--secret-file"];
        let args = Cli::try_parse_from(words.into_iter().chain([file.to_str().unwrap()])).unwrap().args;
        let token = make(&args, Timestamp(1_000_000)).unwrap();
        let material = Material::secret(b"a secret of enough bytes");
        let keys = [Key { id: None, algorithm: None, material }];
        let claims = Token::parse(&token).unwrap().verify(&keys, &[Algorithm::Hs256]).unwrap();
        assert_eq!(claims, json!({ "sub": "u1", "iat": 1000, "exp": 4600, "role": "admin", "roles": [1] }));
    }

    #[test]
    fn a_token_needs_a_secret_and_claims_need_a_name() {
        assert!(Cli::try_parse_from(["token", "--sub", "u1"]).is_err());
        assert!(claim("=x").is_err() && claim("x").is_err());
        assert_eq!(claim("n=12").unwrap().1, json!(12));
        assert_eq!(claim("n=a=b").unwrap().1, json!("a=b"));
    }
}
