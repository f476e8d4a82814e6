//! What the hub tells of jobs: `protocol/README.md` §10.1 and §10.2.

use serde_json::{Value, json};
use tidings::job;

/// The schema of the data of an event that the hub tells itself; with its definitions. `None` for any other name.
pub(super) fn document(name: &str) -> Option<Value> {
    if name == job::ITEM_EVENT {
        return Some(json!({
            "description": "One item of a job's result.",
            "type": "object",
            "properties": {
                "id": { "type": "string", "description": "The job." },
                "index": { "type": "integer", "description": "Which item it is, from 0." },
                "item": { "description": "The item, as the worker gave it." },
            },
            "required": ["id", "index", "item"],
        }));
    }
    let (state, says) = match name {
        "job.queued" => ("queued", "The job waits for a worker."),
        "job.running" => ("running", "A worker has the job."),
        "job.progress" => ("running", "The job got further. Not kept: only the newest counts."),
        "job.canceling" => ("running", "Somebody canceled the job, and its worker has yet to answer."),
        "job.completed" => ("completed", "The job is done."),
        "job.failed" => ("failed", "The job failed."),
        "job.canceled" => ("canceled", "The job was canceled."),
        "job.lost" => ("lost", "The job lost its last worker."),
        _ => return None,
    };
    let mut required = vec!["id", "kind", "state", "attempt", "attempts", "progress", "created", "updated", "revision"];
    let mut properties = json!({
        "id": { "type": "string" },
        "kind": { "type": "string", "description": "What is to be done." },
        "state": { "const": state },
        "attempt": { "type": "integer", "description": "Which try this is, from 1; 0 while none was made." },
        "attempts": { "type": "integer", "description": "How many tries there may be." },
        "progress": { "$ref": "#/$defs/JobProgress" },
        "owner": { "type": "string", "description": "Who it belongs to." },
        "created": { "type": "integer", "description": "In ms since 1970." },
        "started": { "type": "integer", "description": "When this attempt began, in ms since 1970." },
        "updated": { "type": "integer", "description": "In ms since 1970." },
        "revision": { "type": "integer", "description": "Grows with each change of the state." },
    });
    let mut add = |name: &'static str, schema: Value, is_required: bool| {
        properties[name] = schema;
        if is_required {
            required.push(name);
        }
    };
    add("items", json!({ "type": "integer", "description": "How many items the result has." }), false);
    if job::is_end(name) {
        add("ended", json!({ "type": "integer", "description": "In ms since 1970." }), true);
        add("result", json!({ "description": "What the worker said at the end." }), false);
        add(
            "first",
            json!({ "type": "array", "description": "The first items of the result, where the kind asks for them." }),
            false,
        );
    } else {
        add("canceling", json!({ "const": true, "description": "Somebody has canceled it." }), name == "job.canceling");
    }
    if matches!(name, "job.failed" | "job.lost") {
        add("error", json!({ "$ref": "#/$defs/JobError" }), true);
    }
    Some(json!({
        "description": says,
        "type": "object",
        "properties": properties,
        "required": required,
        "$defs": {
            "JobProgress": {
                "description": "How far a job is.",
                "type": "object",
                "properties": {
                    "done": { "type": "integer" },
                    "total": { "type": "integer" },
                    "fraction": { "type": "number", "description": "`done` of `total`, 0 to 1." },
                    "message": { "type": "string" },
                    "item": { "description": "What is worked on." },
                },
                "required": ["done"],
            },
            "JobError": {
                "description": "Why a job failed.",
                "type": "object",
                "properties": {
                    "code": { "type": "string", "description": "For programs." },
                    "message": { "type": "string", "description": "A sentence." },
                    "retryable": { "type": "boolean", "description": "Whether another try may go better." },
                },
                "required": ["code", "message"],
            },
        },
    }))
}

/// What the hub tells of a job, with what a profile says of its members: what its workers report, which the hub does not know.
pub(super) fn laid_over(mut document: Value, own: Value) -> Value {
    let Value::Object(own) = own else { return document };
    for (keyword, value) in own {
        match (document.get_mut(&keyword), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, value) => document[&keyword] = value,
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::JsonSchema;
    use tidings::DataSchema;

    #[test]
    fn a_profile_says_what_its_workers_report() {
        let own =
            json!({"properties": {"result": {"$ref": "#/$defs/Sum"}}, "required": ["result"], "$defs": {"Sum": {}}});
        let both = laid_over(document("job.completed").unwrap(), own);
        assert_eq!(both["properties"]["result"], json!({"$ref": "#/$defs/Sum"}));
        assert!(both["properties"]["id"].is_object() && both["$defs"]["JobProgress"].is_object());
        assert!(both["required"].as_array().unwrap().contains(&json!("result")));
    }

    #[test]
    fn every_event_of_jobs_has_a_schema_that_its_document_fits() {
        let full = json!({
            "id": "j1", "kind": "import", "attempt": 1, "attempts": 3, "progress": {"done": 1, "total": 2, "fraction": 0.5},
            "created": 1, "started": 2, "updated": 3, "ended": 4, "revision": 2, "error": {"code": "a", "message": "b"},
        });
        for name in job::STATE_EVENTS {
            let schema = JsonSchema::new(document(name).unwrap()).unwrap();
            let mut data = full.clone();
            data["state"] = schema.document().unwrap()["properties"]["state"]["const"].clone();
            if name == "job.canceling" {
                data["canceling"] = true.into();
            }
            schema.check(&data.to_string()).unwrap();
        }
        assert!(document(job::ITEM_EVENT).is_some() && document("book.updated").is_none());
    }
}
