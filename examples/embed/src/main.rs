//! A to-do list with live updates: `cargo run -p tidings-example-embed`, then
//! `curl -N localhost:3000/events` beside `curl -d 'buy milk' localhost:3000/todos`.

use std::{error::Error, path::Path, sync::Arc};

use async_trait::async_trait;
use axum::{Router, extract::State, routing::post};
use rusqlite::Connection;
use serde_json::json;
use tidings::{Draft, Grants, Hub, Limits, Principal, Profile, SystemClock};
use tidings_brokers::{DiskBroker, DiskSettings};
use tidings_transports::{Answer, Authenticate, Mount, Problem, Request, Service, Stream, StreamSettings};
use tokio::{net::TcpListener, sync::Mutex};

/// Your own login goes here; in this list everybody may see everything.
struct Everybody;

#[async_trait]
impl Authenticate for Everybody {
    async fn authenticate(&self, _: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let grants = Grants::parse(["everyone"]).expect("a literal grant");
        Ok(Arc::new(Principal::new("anybody", grants, "anonymous")))
    }
}

struct App {
    db: Mutex<Connection>,
    hub: Arc<Hub>,
}

async fn add(State(app): State<Arc<App>>, title: String) -> Result<String, String> {
    let id = {
        let db = app.db.lock().await;
        db.execute("INSERT INTO todo (title) VALUES (?1)", [&title]).map_err(|error| error.to_string())?;
        db.last_insert_rowid()
    };
    // After the commit: nobody hears of what could still be taken back.
    let draft: Draft = serde_json::from_value(json!({ "name": "todo.added", "data": { "id": id, "title": title } }))
        .map_err(|error| error.to_string())?;
    let event = Profile::open().derive(draft, app.hub.clock().now(), app.hub.limits()).map_err(|error| error.detail)?;
    app.hub.publish(vec![event]).await.map_err(|error| error.to_string())?;
    Ok(format!("{id}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let broker = DiskBroker::open(Path::new("data/embed"), DiskSettings::default(), Arc::new(SystemClock))?;
    let hub = Hub::open(Arc::new(broker), [], Arc::new(SystemClock), Limits::default()).await?;
    let service = Service::new(hub.clone(), None, None);
    let stream = Stream::new(StreamSettings::default(), Arc::new(Profile::open()));
    let events = Mount { path: "/events".into(), answer: Answer::Sse, stream, auth: Arc::new(Everybody) };
    let db = Connection::open_in_memory()?;
    db.execute("CREATE TABLE todo (id INTEGER PRIMARY KEY, title TEXT NOT NULL)", [])?;
    let app = Router::new().route("/todos", post(add)).with_state(Arc::new(App { db: Mutex::new(db), hub }));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app.merge(tidings_transports::router(&service, vec![events], vec![]))).await?)
}
