//! Lists of books.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use serde_json::value::to_raw_value;
use tidings::Topic;
use tidings::job::{JobFile, NewJob};
use tidings_transports::upload::{self, UploadSettings, Uploaded};

use super::LIST_BYTES;
use crate::app::App;
use crate::fault::{Fault, Result};
use crate::session::Visitor;
use crate::work;

/// Takes a list as `multipart/form-data`: a part `file`, and perhaps a part `owned` that says `true`.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    let (parts, body) = request.into_parts();
    let settings = UploadSettings { most_bytes: LIST_BYTES, ..UploadSettings::default() };
    let files = app.service.job_files().ok_or_else(|| Fault::Broken("there is no place for files".into()))?;
    let received = upload::receive(&parts.headers, body, files, &settings, app.hub.limits()).await?;
    let is_owned = received.fields.iter().any(|(name, value)| name == "owned" && value == "true");
    let file = received.file.ok_or_else(|| Fault::invalid("file", "send the list as a part `file`"))?;
    let user = visitor.viewer().user;
    let input = to_raw_value(&json!({ "owner": is_owned.then_some(user) }));
    let grant: Result<Topic> = app
        .profile
        .qualify(&format!("user/{user}"))
        .parse()
        .map_err(|_| Fault::Broken("the number of a user makes no grant".into()));
    let new = NewJob {
        namespace: app.profile.namespace().map(str::to_owned),
        kind: work::IMPORT.into(),
        input: Some(input.map_err(|error| Fault::Broken(error.to_string()))?),
        file: Some(job_file(&file)),
        file_hash: Some(file.sha256),
        owner: Some(user.to_string()),
        audience: vec![grant?],
        ..NewJob::default()
    };
    // Goes on to the end also if the client goes away meanwhile: a job that is there has its file.
    let jobs = app.jobs.clone();
    let made = tokio::spawn(async move {
        let mut file = file;
        let created = jobs.create(new).await;
        if created.is_ok() {
            file.keep();
        }
        created
    });
    let created = made.await.map_err(|error| Fault::Broken(error.to_string()))??;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job": created.job.id }))))
}

fn job_file(file: &Uploaded) -> JobFile {
    JobFile {
        path: file.key().to_owned(),
        name: file.name.clone().unwrap_or_else(|| "list.csv".into()),
        media_type: file.media_type.clone(),
        bytes: file.bytes,
    }
}
