//! `tidings migrate`: moves what one hub kept on its disk into NATS, where several replicas share it.
//!
//! - `source`: what is on the disk. `bar`: how far it is, for those who wait.

mod bar;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidings::{Clock, SystemClock};
use tidings_brokers::nats::{
    Engine, LogMove, MoveError, MoveProgress, MovedJobs, MovedState, NatsFiles, NatsJobs, NatsSettings, NatsState,
    Survey, move_jobs, move_state,
};

use self::bar::Bar;
use self::source::Source;
use super::{Failure, end, print};
use crate::idempotency::IdempotencyKeys;
use crate::settings::Settings;

/// `tidings migrate`.
#[derive(Clone, Debug, clap::Args)]
pub struct MigrateArgs {
    /// The settings of the replicas, which say where NATS is
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// The data directory of the hub that is to go to replicas; goes before the one of the settings
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only say what there is to move
    #[arg(long)]
    dry_run: bool,
}

/// Moves what is on the disk into NATS. Killed at any moment and run again, it goes on where it was.
pub async fn run(args: MigrateArgs) -> ExitCode {
    end(migrate(args).await)
}

async fn migrate(args: MigrateArgs) -> Result<(), Failure> {
    let settings =
        Settings::load(args.config.as_deref()).map_err(|report| Failure::new(report.to_string().trim_end()))?;
    let nats = settings.nats().ok_or_else(|| {
        Failure::new(
            "these settings keep the log on disk: give those that the replicas will have, with `url = \"nats://…\"` in [broker]",
        )
    })?;
    let dir = args.data.unwrap_or_else(|| settings.base.join(&settings.data.dir));
    let source = Source::open(&dir)?;
    let engine = Engine::connect(nats.clone()).await.map_err(|error| Failure::new(error.to_string()))?;
    let log = LogMove::new(engine.clone(), source.log.clone());
    match log.progress().await.map_err(failed)? {
        MoveProgress::Done(until) => return already(&source, &nats, until.0),
        MoveProgress::Begun(at) => say(&format!("It was begun, and goes on behind event {at}.")),
        MoveProgress::New => {}
    }
    let head = source.log.head();
    let mut bar = Bar::new("Looking through the log", head.trimmed.0, head.last.0);
    let survey = log.survey(|place| bar.step(place.0)).await.map_err(failed)?;
    bar.end();
    say(&found(&survey, &nats));
    if args.dry_run {
        say("Nothing was moved: leave --dry-run away to move it.");
        return Ok(());
    }

    let mut bar = Bar::new("Moving events", survey.first.0.saturating_sub(1), survey.last.0);
    log.copy(&survey, |place| bar.step(place.0)).await.map_err(failed)?;
    bar.end();
    beside(&source, &engine).await?;
    let mut bar = Bar::new("Reading all back", survey.first.0.saturating_sub(1), survey.last.0);
    log.check(&survey, |place| bar.step(place.0)).await.map_err(failed)?;
    bar.end();
    log.finish(&survey).await.map_err(failed)?;
    say(&format!(
        "All is in NATS, hub {:?}, and reads back as it was. Start the replicas with these settings; clients go on where they were. \
         Don't start a hub on {} again: what it took would be missing in NATS. Keep the directory until you trust the new one, then delete it.",
        nats.hub,
        dir.display()
    ));
    Ok(())
}

/// Moves what stands beside the log.
async fn beside(source: &Source, engine: &Arc<Engine>) -> Result<(), Failure> {
    let Some(store) = &source.store else {
        say("There is no database beside the log: no keys and no jobs to move.");
        return Ok(());
    };
    let interrupted = |error: String| Failure::new(again(&error));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // What a crash kept from being answered is found in the log, and nobody looks there once it is moved.
    IdempotencyKeys::open(store.clone(), source.log.clone(), clock.clone(), Duration::ZERO)
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    let state = NatsState::open(engine.clone()).await.map_err(|error| interrupted(error.to_string()))?;
    let MovedState { keys, revocations, answers } =
        move_state(store, &state, clock.now()).await.map_err(|error| interrupted(error.to_string()))?;
    say(&format!(
        "Moved {}, {} and {} to requests.",
        count(keys, "API key"),
        count(revocations, "revocation"),
        count(answers, "answer")
    ));
    let files = NatsFiles::open(engine.clone()).await.map_err(|error| interrupted(error.to_string()))?;
    let jobs = NatsJobs::open(engine.clone()).await.map_err(|error| interrupted(error.to_string()))?;
    let MovedJobs { jobs, tokens, files, missing_files } =
        move_jobs(store, &*source.files, &*jobs, &files, clock.now(), |_| ())
            .await
            .map_err(|error| interrupted(error.to_string()))?;
    say(&format!("Moved {}, {} and {}.", count(jobs, "job"), count(tokens, "token"), count(files, "file")));
    if missing_files > 0 {
        say(&format!("{} of open jobs were not there any more.", count(missing_files, "file")));
    }
    Ok(())
}

/// What to say when it was moved before.
fn already(source: &Source, nats: &NatsSettings, until: u64) -> Result<(), Failure> {
    let last = source.log.head().last.0;
    if last > until {
        return Err(Failure::new(format!(
            "the log was moved to NATS up to event {until}, and a hub has written up to {last} here since: those {} are in this directory alone. \
             Events of the replicas have their places there, so they can't be moved any more; publish again what of them still counts",
            count(last - until, "event")
        )));
    }
    say(&format!("Nothing to do: all up to event {until} was moved to NATS, hub {:?}.", nats.hub));
    Ok(())
}

/// What there is to move.
fn found(survey: &Survey, nats: &NatsSettings) -> String {
    let Survey { first, last, events, holes, left_out } = survey;
    let mut text = format!(
        "{} to move to NATS, hub {:?}: the places {first} to {last}, of which {holes} have none.",
        count(*events, "event"),
        nats.hub
    );
    if *left_out > 0 {
        text.push_str(&format!(
            " {} before are more, or older, than the settings keep, and stay.",
            count(*left_out, "event")
        ));
    }
    text
}

fn failed(error: MoveError) -> Failure {
    match error {
        MoveError::Interrupted(why) => Failure::new(again(&why)),
        error => Failure::new(error.to_string()),
    }
}

fn again(why: &str) -> String {
    format!("{why}. Run this again: it goes on where it was")
}

/// A number of things.
fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn say(line: &str) {
    drop(print(&format!("{line}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::Offset;

    #[test]
    fn what_there_is_to_move_is_said_in_a_line() {
        let nats = NatsSettings::default();
        let survey = Survey { first: Offset(1), last: Offset(9), events: 1, holes: 8, left_out: 0 };
        assert_eq!(
            found(&survey, &nats),
            "1 event to move to NATS, hub \"hub\": the places 1 to 9, of which 8 have none."
        );
        let text = found(&Survey { left_out: 3, ..survey }, &nats);
        assert!(text.ends_with(" 3 events before are more, or older, than the settings keep, and stay."), "{text}");
    }
}
