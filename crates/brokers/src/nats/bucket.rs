//! The streams that stand beside the log: buckets of keys and values, and of files.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{Config, Stream};

use super::echo::check_stream;
use super::engine::{Engine, EngineError, is_passing};

/// Makes a bucket as it is asked for, or takes the one that is there; `what` says for people what is in it. One that has another number of
/// copies is given the number that is asked for, as the log is; one that differs in anything else is refused.
pub(super) async fn open_bucket(engine: &Engine, asked: Config, what: &str) -> Result<Stream<()>, EngineError> {
    let (name, context) = (asked.name.clone(), engine.context());
    let unreachable = |error: &dyn std::fmt::Display| EngineError::Unreachable {
        at: engine.settings().shown_servers(),
        why: format!("it does not answer about the bucket of {what}, {name}: {error}"),
    };
    let echoed = match context.create_stream(asked.clone()).await {
        Ok(made) => made.cached_info().config.clone(),
        Err(error) => match error.kind() {
            CreateStreamErrorKind::JetStream(refused) if refused.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                let found = context.get_stream(&name).await.map_err(|error| unreachable(&error))?;
                let found = found.cached_info().config.clone();
                let but_for_copies = Config { num_replicas: found.num_replicas, ..asked.clone() };
                check_stream(&but_for_copies, &found).map_err(|differs| foreign(what, &name, &differs))?;
                let (before, now) = (found.num_replicas, asked.num_replicas);
                let wanted = Config { num_replicas: now, ..found };
                let updated = context.update_stream(&wanted).await.map_err(|error| unreachable(&error))?;
                tracing::info!(
                    bucket = name,
                    before,
                    now,
                    "a bucket in NATS has as many copies as the settings say now"
                );
                updated.config
            }
            CreateStreamErrorKind::JetStream(refused) if !is_passing(&refused) => {
                return Err(EngineError::Unfit(format!("NATS does not make the bucket of {what}, {name}: {refused}")));
            }
            _ => return Err(unreachable(&error)),
        },
    };
    check_stream(&asked, &echoed)?;
    context.get_stream_no_info(&name).await.map_err(|error| unreachable(&error))
}

fn foreign(what: &str, name: &str, differs: &EngineError) -> EngineError {
    EngineError::Unfit(format!(
        "the bucket of {what}, {name}, is there in NATS and is not as this program makes it: {differs}. Remove it there, or give the hub another name"
    ))
}
