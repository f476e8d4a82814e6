//! A profile as an AsyncAPI document (AsyncAPI 3.0.0): its streams as channels, its events as messages.

mod draft7;
mod security;

use std::collections::BTreeMap;

use http::Uri;
use serde_json::{Map, Value, json};
use tidings::Args;
use tidings_transports::stream::JobNamed;
use tidings_transports::{Filtering, StreamSettings};

use self::draft7::draft7;
use self::security::Schemes;
use super::refs;
use super::view::{View, ViewEvent, type_name};
use crate::profile::{LoadedProfile, Mount, Transport};

/// The version of the bindings that are used.
const HTTP_BINDING: &str = "0.3.0";
const WS_BINDING: &str = "0.1.0";

/// The document. `server` is where clients reach the hub; an error is a sentence.
pub fn document(loaded: &LoadedProfile, server: Option<&str>) -> Result<Value, String> {
    let schemes = Schemes::of(&loaded.auth);
    let mut making = Making::new(loaded, &schemes);
    for mount in loaded.mounts.iter().filter(|mount| mount.transport.stream().is_some()) {
        making.mount(mount);
    }
    let mut info = json!({ "title": loaded.profile.name(), "version": "1.0.0" });
    if !loaded.description.is_empty() {
        info["description"] = loaded.description.trim().into();
    }
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": info,
        "defaultContentType": "application/json",
        "channels": making.channels,
        "operations": making.operations,
        "components": { "messages": making.messages, "schemas": making.schemas },
    });
    if !schemes.is_empty() {
        document["components"]["securitySchemes"] = schemes.to_json();
    }
    if let Some(server) = server {
        document["servers"] = servers(server, loaded)?;
    }
    Ok(document)
}

/// The hub under each of the protocols that its streams speak.
fn servers(url: &str, loaded: &LoadedProfile) -> Result<Value, String> {
    let wrong = || format!("{url:?} is no address: write it like https://books.example.org");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (host, scheme) = (uri.authority().ok_or_else(wrong)?, uri.scheme_str().ok_or_else(wrong)?);
    let is_secure = match scheme {
        "https" | "wss" => true,
        "http" | "ws" => false,
        _ => return Err(wrong()),
    };
    let mut servers = Map::new();
    for mount in loaded.mounts.iter().filter(|mount| mount.transport.stream().is_some()) {
        let protocol = protocol(&mount.transport);
        let mut server = json!({
            "host": host.as_str(),
            "protocol": if is_secure { format!("{protocol}s") } else { protocol.to_owned() },
        });
        if uri.path() != "/" {
            server["pathname"] = uri.path().trim_end_matches('/').into();
        }
        servers.insert(protocol.to_owned(), server);
    }
    Ok(servers.into())
}

fn protocol(transport: &Transport) -> &'static str {
    match transport {
        Transport::WebSocket(_) | Transport::SocketIo(_) => "ws",
        _ => "http",
    }
}

/// The transport in a word and in a sentence.
fn spoken(transport: &Transport) -> (&'static str, &'static str) {
    match transport {
        Transport::Poll(_) => ("poll", "Long-poll: each answer is a list of events."),
        Transport::WebSocket(_) => ("websocket", "WebSocket (RFC 6455): each message is one event."),
        Transport::SocketIo(_) => {
            ("socketio", "Socket.IO: each event has the name of a message, and its payload as arguments.")
        }
        _ => ("sse", "Server-Sent Events: `event` is the name of a message, `data` its payload."),
    }
}

/// A document in the making.
struct Making<'a> {
    loaded: &'a LoadedProfile,
    schemes: &'a Schemes,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    schemas: Map<String, Value>,
    /// What a name of a schema means, with all that it refers to.
    meanings: BTreeMap<String, Value>,
}

impl<'a> Making<'a> {
    fn new(loaded: &'a LoadedProfile, schemes: &'a Schemes) -> Self {
        Making {
            loaded,
            schemes,
            channels: Map::new(),
            operations: Map::new(),
            messages: Map::new(),
            schemas: Map::new(),
            meanings: BTreeMap::new(),
        }
    }

    /// Adds a channel for each path of a mount.
    fn mount(&mut self, mount: &Mount) {
        let Some(stream) = mount.transport.stream() else { return };
        let view = View::of(self.loaded, Some(mount));
        let names = self.types(&view);
        let mut own = Map::new();
        let mut messages: Vec<(String, String)> = Vec::new();
        for event in &view.events {
            let key = free(&own, &safe(&event.name));
            own.insert(key.clone(), Value::Null);
            messages.push((key, self.message(event, &names)));
        }
        let (word, sentence) = spoken(&mount.transport);
        for path in &mount.paths {
            // Socket.IO's path has two spellings.
            let address = match &mount.transport {
                Transport::SocketIo(_) => path.path.trim_end_matches('/'),
                _ => path.path.as_str(),
            };
            if self.channels.values().any(|channel| channel["address"] == address) {
                continue;
            }
            let id = free(&self.channels, word);
            let refer = |name: &String| json!({ "$ref": format!("#/components/messages/{name}") });
            let told: Map<String, Value> = messages.iter().map(|(own, name)| (own.clone(), refer(name))).collect();
            let mut channel = json!({ "address": address, "summary": sentence, "messages": told });
            if address.contains("{job}") {
                channel["parameters"] = json!({ "job": { "description": "The id of a job." } });
            }
            if protocol(&mount.transport) == "ws" {
                let mut binding = json!({ "method": "GET", "bindingVersion": WS_BINDING });
                if let Some(query) = query(stream) {
                    binding["query"] = query;
                }
                channel["bindings"] = json!({ "ws": binding });
            }
            self.operation(mount, stream, &id, &messages);
            self.hears(stream, &id, &mut channel);
            self.channels.insert(id, channel);
        }
    }

    /// The hub sends on a channel.
    fn operation(&mut self, mount: &Mount, stream: &StreamSettings, id: &str, messages: &[(String, String)]) {
        let refer = |(own, _): &(String, String)| json!({ "$ref": format!("#/channels/{id}/messages/{own}") });
        let mut operation = json!({
            "action": "send",
            "channel": { "$ref": format!("#/channels/{id}") },
            "messages": messages.iter().map(refer).collect::<Vec<_>>(),
        });
        let security = self.schemes.on(&mount.transport);
        let is_open = stream.job.as_ref().is_some_and(|job| job.open) || !self.schemes.is_needed();
        if !security.is_empty() && !is_open {
            operation["security"] = security.into();
        }
        if protocol(&mount.transport) == "http" {
            let mut binding = json!({ "method": "GET", "bindingVersion": HTTP_BINDING });
            if let Some(query) = query(stream) {
                binding["query"] = query;
            }
            operation["bindings"] = json!({ "http": binding });
        }
        self.operations.insert(format!("{id}.tell"), operation);
    }

    /// What a client may say in the app's own words.
    fn hears(&mut self, stream: &StreamSettings, id: &str, channel: &mut Value) {
        let Some(dialect) = stream.dialect.as_ref().filter(|dialect| !dialect.hears.is_empty()) else { return };
        let mut refs = Vec::new();
        for word in dialect.hears.keys() {
            let payload = json!({
                "type": "object",
                "properties": { &dialect.member: { "const": word } },
                "required": [&dialect.member],
            });
            let said = format!("said.{}", safe(word));
            let name = free(&self.messages, &said);
            self.messages.insert(name.clone(), json!({ "name": word, "title": word, "payload": payload }));
            channel["messages"][&said] = json!({ "$ref": format!("#/components/messages/{name}") });
            refs.push(json!({ "$ref": format!("#/channels/{id}/messages/{said}") }));
        }
        self.operations.insert(
            format!("{id}.hear"),
            json!({ "action": "receive", "channel": { "$ref": format!("#/channels/{id}") }, "messages": refs }),
        );
    }

    /// Adds the schemas that a view's events refer to. What means the same on two mounts is one; gives their names here.
    fn types(&mut self, view: &View) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for name in view.types.keys() {
            let meaning = refs::bundle(json!({ "$ref": refs::reference(name) }), &view.types);
            let mut own = name.clone();
            let mut count = 1;
            while self.meanings.get(&own).is_some_and(|known| *known != meaning) {
                count += 1;
                own = format!("{name}{count}");
            }
            self.meanings.insert(own.clone(), meaning);
            names.insert(name.clone(), own);
        }
        for (name, schema) in &view.types {
            let schema = self.translated(schema, &names);
            self.schemas.insert(names[name].clone(), schema);
        }
        names
    }

    fn translated(&self, schema: &Value, names: &BTreeMap<String, String>) -> Value {
        draft7(schema, &|name| format!("#/components/schemas/{}", names.get(name).map_or(name, String::as_str)))
    }

    /// Adds the message of an event; gives its name. What looks the same on two mounts is one.
    fn message(&mut self, event: &ViewEvent, names: &BTreeMap<String, String>) -> String {
        let mut message = json!({ "name": event.name, "title": event.name });
        if let Some(description) = event.schema.get("description") {
            message["summary"] = description.clone();
        }
        match event.args {
            Args::Zero => message["summary"] = "The name says it all: there is no data.".into(),
            Args::One | Args::Spread => {
                let schema = self.translated(&event.schema, names);
                message["payload"] = self.payload(schema);
            }
        }
        let wanted = safe(&event.name);
        let mut name = wanted.clone();
        let mut count = 1;
        while self.messages.get(&name).is_some_and(|known| *known != message) {
            count += 1;
            name = format!("{wanted}{count}");
        }
        self.messages.insert(name.clone(), message);
        name
    }

    /// The payload of a message. What has a title is among the schemas, once for all messages that have it.
    fn payload(&mut self, schema: Value) -> Value {
        let Some(title) = schema.get("title").and_then(Value::as_str).map(type_name) else {
            return if schema == Value::Bool(true) { json!({}) } else { schema };
        };
        let mut name = title.clone();
        let mut count = 1;
        while self.schemas.get(&name).is_some_and(|known| *known != schema) {
            count += 1;
            name = format!("{title}{count}");
        }
        // So that no definition of another mount takes this name for something else.
        self.meanings.entry(name.clone()).or_insert_with(|| schema.clone());
        self.schemas.insert(name.clone(), schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// The parameters of the query that a stream knows, beside those of the hub.
fn query(stream: &StreamSettings) -> Option<Value> {
    let mut properties = Map::new();
    for Filtering { query, split, topic, .. } in &stream.filters {
        let several = split.map(|split| format!(", or several with `{split}` between them")).unwrap_or_default();
        let description = format!("Only events about `{topic}`, `{{value}}` being this{several}.");
        properties.insert(query.clone(), json!({ "type": "string", "description": description }));
    }
    let mut required = Vec::new();
    if let Some(JobNamed::Query(name)) = stream.job.as_ref().map(|job| &job.named) {
        properties.insert(name.clone(), json!({ "type": "string", "description": "The id of a job." }));
        required.push(name);
    }
    if properties.is_empty() {
        return None;
    }
    let mut query = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        query["required"] = json!(required);
    }
    Some(query)
}

/// A name that nothing has yet: with a number behind it, if need be.
fn free(taken: &Map<String, Value>, wanted: &str) -> String {
    let mut name = wanted.to_owned();
    let mut count = 1;
    while taken.contains_key(&name) {
        count += 1;
        name = format!("{wanted}{count}");
    }
    name
}

/// A text as a part of a key: `^[a-zA-Z0-9\.\-_]+$` (AsyncAPI 3.0.0, "Components Object").
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}
