//! `tidings key`: the API keys, in the database or, where replicas share them, in NATS. It works beside running hubs, which see a change
//! within a second.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tidings::{Clock, SystemClock, Timestamp, TopicPattern};
use tidings_brokers::Store;
use tidings_brokers::nats::{Engine, NatsSettings, NatsState};
use tidings_brokers::state::AccessStore;
use tidings_brokers::store::{Key, NewKey};

use super::time::date;
use super::{Failure, end};
use crate::auth::duration;
use crate::settings::Settings;

/// `tidings key`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a key; its token is shown once
    Create(Box<CreateArgs>),
    /// List the keys
    List(ListArgs),
    /// Delete a key; who uses it is refused from then on
    Delete(DeleteArgs),
}

/// Where the keys are.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The data directory of the hub; goes before what the settings say
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The settings, which say where the data directory or NATS is
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
struct CreateArgs {
    /// What you call it; it is who publishes or listens
    #[arg(long)]
    name: String,
    /// What it may see, as in role/viewer or library/*/read. Repeat it for more
    #[arg(long, value_name = "GRANT", value_parser = pattern)]
    grant: Vec<String>,
    /// It may publish
    #[arg(long)]
    publish: bool,
    /// It may publish on these topics alone; patterns work. Repeat it for more
    #[arg(long, value_name = "TOPIC", value_parser = pattern)]
    publish_topic: Vec<String>,
    /// It may publish events of these names alone. Repeat it for more
    #[arg(long, value_name = "NAME")]
    publish_name: Vec<String>,
    /// It may do what an operator of the whole hub may: revoke, explain, see who listens and what the log holds. Not together with --profile
    #[arg(long)]
    operator: bool,
    /// The namespace of the profile that it is for, in whose words its grants and topics then are
    #[arg(long, value_name = "NAMESPACE")]
    profile: Option<String>,
    /// After how long it is refused, as in 90d; without it, never
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires: Option<std::time::Duration>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct DeleteArgs {
    /// The id that `tidings key list` shows
    id: String,
    #[command(flatten)]
    place: Place,
}

fn pattern(text: &str) -> Result<String, String> {
    text.parse::<TopicPattern>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Makes, lists or deletes keys.
pub async fn run(args: KeyArgs) -> ExitCode {
    end(answer(args.command).await.map(|text| drop(super::print(&text))))
}

async fn answer(command: Command) -> Result<String, Failure> {
    let now = SystemClock.now();
    match command {
        Command::Create(args) => create(&*args.place.open(true).await?, *args, now).await,
        Command::List(args) => list(&*args.place.open(false).await?, now).await,
        Command::Delete(args) => delete(&*args.place.open(false).await?, &args.id).await,
    }
}

/// What keeps the keys.
enum Keeper {
    /// The database in this directory.
    Directory(PathBuf),
    /// NATS.
    Nats(Box<NatsSettings>),
}

impl Place {
    fn keeper(&self) -> Result<Keeper, Failure> {
        if let Some(dir) = &self.data {
            return Ok(Keeper::Directory(dir.clone()));
        }
        let settings =
            Settings::load(self.config.as_deref()).map_err(|report| Failure::new(report.to_string().trim_end()))?;
        Ok(match settings.nats() {
            Some(nats) => Keeper::Nats(Box::new(nats)),
            None => Keeper::Directory(settings.base.join(&settings.data.dir)),
        })
    }

    /// `make`: whether a database may be made where there is none.
    async fn open(&self, make: bool) -> Result<Arc<dyn AccessStore>, Failure> {
        match self.keeper()? {
            Keeper::Directory(dir) => Ok(Arc::new(database(&dir, make)?)),
            Keeper::Nats(settings) => {
                let engine = Engine::connect(*settings).await.map_err(failed)?;
                Ok(NatsState::open(engine).await.map_err(failed)?)
            }
        }
    }
}

fn database(dir: &Path, make: bool) -> Result<Store, Failure> {
    let file = dir.join("tidings.db");
    if make {
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::new(format!("the directory {} can't be made: {error}", dir.display())))?;
    } else if !file.exists() {
        let sentence = format!("there is no database at {}: --data or --config says where it is", file.display());
        return Err(Failure::new(sentence));
    }
    let is_new = !file.exists();
    let store = Store::open(&file).map_err(|error| {
        let hint = "run it as the user that the hub runs as";
        Failure::new(format!("the database {} can't be opened: {error}; {hint}", file.display()))
    })?;
    if is_new {
        // A key in another database than the hub's opens nothing, and nobody would know why.
        eprintln!(
            "{} is a new database. If the hub has run before, it has another: say --config or --data as it is started with",
            file.display()
        );
    }
    Ok(store)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

async fn create(store: &dyn AccessStore, args: CreateArgs, now: Timestamp) -> Result<String, Failure> {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let (topics, names) = (some(args.publish_topic), some(args.publish_name));
    if args.name.trim().is_empty() {
        return Err(Failure::new("the key needs a --name: it is who publishes or listens"));
    }
    if args.operator && args.profile.is_some() {
        let sentence = "an operator is one of the whole hub, who sees what every profile tells: make the key without --profile, or without --operator";
        return Err(Failure::new(sentence));
    }
    if args.profile.as_deref().is_some_and(|profile| matches!(profile, "job" | "work")) {
        return Err(Failure::new("no profile has the namespace `job` or `work`: these words begin the grants of jobs"));
    }
    let new = NewKey {
        name: args.name,
        grants: args.grant,
        may_publish: args.publish || topics.is_some() || names.is_some(),
        publish_topics: topics,
        publish_names: names,
        operator: args.operator,
        profile: args.profile,
        expires_at: args.expires.map(|expires| now.after(expires)),
    };
    let (key, token) = store.create_key(new, now).await.map_err(failed)?;
    // The token alone on standard output: `KEY=$(tidings key create …)`.
    eprintln!("key {}: {}. Its token is shown this once and stored nowhere; keep it:", key.id, rights(&key));
    Ok(format!("{token}\n"))
}

async fn delete(store: &dyn AccessStore, id: &str) -> Result<String, Failure> {
    match store.delete_key(id).await.map_err(failed)? {
        true => Ok(format!("deleted {id}\n")),
        false => Err(Failure::new(format!("there is no key {id:?}; `tidings key list` shows their ids"))),
    }
}

async fn list(store: &dyn AccessStore, now: Timestamp) -> Result<String, Failure> {
    let keys = store.keys().await.map_err(failed)?;
    if keys.is_empty() {
        return Ok("there is no key; `tidings key create --name …` makes one\n".into());
    }
    let width = keys.iter().map(|key| key.rights.name.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let mut out =
        format!("{:8}  {:width$}  {:10}  {:10}  {:10}  rights\n", "id", "name", "made", "expires", "last used");
    for key in &keys {
        let expires = match key.rights.expires_at {
            Some(_) if key.is_expired(now) => "expired".to_owned(),
            Some(at) => date(at),
            None => "never".to_owned(),
        };
        let used = key.used_at.map_or_else(|| "-".to_owned(), date);
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "{:8}  {:width$}  {:10}  {expires:10}  {used:10}  {}",
            key.id,
            key.rights.name,
            date(key.created_at),
            rights(key)
        );
    }
    Ok(out)
}

/// What a key may do, in a line.
fn rights(key: &Key) -> String {
    let rights = &key.rights;
    let mut parts = Vec::new();
    if rights.operator {
        parts.push(
            if rights.profile.is_none() { "operator" } else { "operator, which does not count with a profile" }
                .to_owned(),
        );
    }
    if rights.may_publish {
        let topics = rights.publish_topics.as_ref().map(|topics| format!(" on {}", topics.join(", ")));
        let names = rights.publish_names.as_ref().map(|names| format!(" {}", names.join(", ")));
        parts.push(format!("publishes{}{}", names.unwrap_or_default(), topics.unwrap_or_default()));
    }
    match rights.grants.as_slice() {
        [] => parts.push("sees what everyone sees".to_owned()),
        grants => parts.push(format!("sees {}", grants.join(", "))),
    }
    if let Some(profile) = &rights.profile {
        parts.push(format!("for {profile}"));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: KeyArgs,
    }

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from(["key"].iter().chain(words)).map(|cli| cli.args.command)
    }

    async fn make(store: &Store, words: &[&str]) -> String {
        let Command::Create(args) = parse(&[&["create"], words].concat()).unwrap() else { panic!("create") };
        create(store, *args, Timestamp(0)).await.unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn a_key_is_made_with_the_rights_that_were_asked_for() {
        let store = Store::in_memory().unwrap();
        let words = ["--name", "app", "--publish-topic", "book/*", "--grant", "library/*/read", "--expires", "90d"];
        let token = make(&store, &words).await;
        let key = store.verify(&token, Timestamp(1)).unwrap().unwrap();
        assert!(key.rights.may_publish && !key.rights.operator);
        assert_eq!(key.rights.publish_topics, Some(vec!["book/*".into()]));
        assert_eq!(key.rights.publish_names, None);
        assert_eq!(key.rights.expires_at, Some(Timestamp(90 * 86_400_000)));
        assert_eq!(rights(&key), "publishes on book/*; sees library/*/read");
    }

    #[tokio::test]
    async fn an_operator_is_of_the_whole_hub_and_no_profiles() {
        let store = Store::in_memory().unwrap();
        let words = ["create", "--name", "ops", "--operator", "--profile", "shop"];
        let Command::Create(args) = parse(&words).unwrap() else { panic!("create") };
        let sentence = create(&store, *args, Timestamp(0)).await.unwrap_err().to_string();
        assert!(sentence.contains("--profile") && sentence.contains("--operator"), "{sentence}");
        assert!(store.keys().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_list_shows_the_rights_and_never_a_token() {
        let store = Store::in_memory().unwrap();
        let token = make(&store, &["--name", "ops", "--operator", "--publish", "--expires", "1d"]).await;
        let text = list(&store, Timestamp(2 * 86_400_000)).await.unwrap();
        assert!(text.contains("ops") && text.contains("1970-01-01") && text.contains("expired"), "{text}");
        assert!(text.contains("operator; publishes; sees what everyone sees"), "{text}");
        // `tdk_<id>_<secret>`: the secret itself may have an underscore anywhere.
        let secret = token.splitn(3, '_').nth(2).unwrap();
        assert!(secret.len() >= 32 && !text.contains(secret), "{text}");
    }

    #[tokio::test]
    async fn a_deleted_key_is_gone_and_a_second_time_is_a_sentence() {
        let store = Store::in_memory().unwrap();
        make(&store, &["--name", "a"]).await;
        let id = store.keys().unwrap()[0].id.clone();
        assert_eq!(delete(&store, &id).await.unwrap(), format!("deleted {id}\n"));
        assert!(delete(&store, &id).await.unwrap_err().to_string().contains("tidings key list"));
        assert!(list(&store, Timestamp(0)).await.unwrap().contains("there is no key"));
    }

    #[test]
    fn what_can_not_be_a_grant_is_refused_before_the_key_is_made() {
        assert!(parse(&["create", "--name", "a", "--grant", "a//b"]).is_err());
        assert!(parse(&["create", "--name", "a", "--expires", "soon"]).is_err());
        assert!(parse(&["create"]).is_err());
    }

    #[tokio::test]
    async fn the_database_is_where_the_data_is_and_only_create_makes_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { data: Some(dir.path().join("data")), config: None };
        let error = place.open(false).await.err().unwrap().to_string();
        assert!(error.contains("there is no database at ") && error.contains("--data"), "{error}");
        place.open(true).await.unwrap();
        assert!(dir.path().join("data/tidings.db").exists());
        std::fs::write(dir.path().join("server.toml"), "[data]\ndir = \"data\"\n").unwrap();
        Place { data: None, config: Some(dir.path().join("server.toml")) }.open(false).await.unwrap();
    }
}
