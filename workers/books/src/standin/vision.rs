//! A vision endpoint that has seen three books on each photo.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

/// What it reads on each shelf.
pub const SEEN: &str = r#"[
    {"title": "Dune", "author": "Frank Herbert", "confidence": 0.97},
    {"title": "Neuromancer", "author": "William Gibson", "confidence": 0.91},
    {"title": "A Book That Nobody Wrote", "confidence": 0.4}
]"#;

/// `POST /v1/chat/completions`. The name of the model says how it answers: `fenced`, `object`, `prose`, `refusing`,
/// `empty`; any other gives the list as it is asked for.
pub async fn complete(Json(request): Json<Value>) -> Response {
    let parts = request["messages"].as_array().into_iter().flatten();
    let parts = parts.filter_map(|message| message["content"].as_array()).flatten();
    let images = parts.filter_map(|part| part["image_url"]["url"].as_str());
    if !images.into_iter().any(|url| url.starts_with("data:image/jpeg;base64,")) {
        return problem(StatusCode::BAD_REQUEST, "there is no image in the request");
    }
    let content = match request["model"].as_str() {
        None => return problem(StatusCode::BAD_REQUEST, "you must provide a model parameter"),
        Some("refusing") => return problem(StatusCode::UNAUTHORIZED, "incorrect API key provided"),
        Some("fenced") => json!(format!("```json\n{SEEN}\n```")),
        Some("object") => json!(format!("{{\"books\": {SEEN}}}")),
        Some("prose") => json!("What a nice shelf! I see Dune and some others."),
        Some("empty") => json!("[]"),
        Some(_) => json!(SEEN),
    };
    Json(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": request["model"],
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": content, "refusal": null},
        }],
        "usage": {"prompt_tokens": 800, "completion_tokens": 60, "total_tokens": 860},
    }))
    .into_response()
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message, "type": "invalid_request_error"}}))).into_response()
}
