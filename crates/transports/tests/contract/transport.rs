//! What a transport is to the contract: a way to listen.

use std::collections::VecDeque;

use serde_json::Value;

use crate::common::{Client, Driver, Server};

/// What somebody asks for.
#[derive(Clone, Default)]
pub struct Ask {
    pub token: String,
    pub topics: Vec<String>,
    pub names: Vec<String>,
    pub cursor: Option<String>,
    /// Whether the credential comes with the first message, where there is one, and not with the request.
    pub is_late: bool,
}

impl Ask {
    /// Everything that the holder of `token` may see, from now on.
    pub fn by(token: &str) -> Ask {
        Ask { token: token.to_owned(), ..Ask::default() }
    }

    pub fn topics(self, topics: &[&str]) -> Ask {
        Ask { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), ..self }
    }

    pub fn names(self, names: &[&str]) -> Ask {
        Ask { names: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    pub fn after(self, cursor: &str) -> Ask {
        Ask { cursor: Some(cursor.to_owned()), ..self }
    }

    pub fn late(self) -> Ask {
        Ask { is_late: true, ..self }
    }

    /// As a query, without the credential.
    pub fn query(&self, cursor: bool) -> String {
        let topics = self.topics.iter().map(|topic| format!("topic={topic}"));
        let names = self.names.iter().map(|name| format!("name={name}"));
        let cursor = self.cursor.iter().filter(|_| cursor).map(|cursor| format!("cursor={cursor}"));
        topics.chain(names).chain(cursor).collect::<Vec<_>>().join("&")
    }

    /// As members of a message, without the credential.
    pub fn members(&self) -> serde_json::Map<String, Value> {
        let mut members = serde_json::Map::new();
        for (name, list) in [("topics", &self.topics), ("names", &self.names)] {
            if !list.is_empty() {
                members.insert(name.into(), list.clone().into());
            }
        }
        if let Some(cursor) = &self.cursor {
            members.insert("cursor".into(), cursor.clone().into());
        }
        members
    }
}

/// What somebody hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Event(Told),
    Gap(Gap),
    Ended(Ending),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub name: String,
    pub data: Value,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    pub reason: String,
    pub resumed: String,
}

impl Gap {
    /// The gap that this object tells.
    pub fn of(gap: &Value) -> Gap {
        let text = |name: &str| gap[name].as_str().unwrap_or_else(|| panic!("{name} in {gap}")).to_owned();
        Gap { reason: text("reason"), resumed: text("resumed") }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    pub reason: String,
    pub comes_back: bool,
}

impl Ending {
    /// The end that this object tells.
    pub fn of(close: &Value) -> Ending {
        let reason = close["reason"].as_str().unwrap_or_else(|| panic!("a reason in {close}")).to_owned();
        Ending { reason, comes_back: close["reconnect"].as_bool().unwrap_or_else(|| panic!("reconnect in {close}")) }
    }
}

/// Somebody may not listen.
#[derive(Clone, Debug)]
pub struct Denied {
    /// The status of the HTTP answer, if it was refused by one.
    pub status: Option<u16>,
    pub detail: String,
}

impl Denied {
    /// What this answer says.
    pub async fn by(mut answer: Client) -> Denied {
        let problem = answer.problem().await;
        Denied { status: Some(answer.status), detail: problem["detail"].as_str().unwrap().to_owned() }
    }
}

/// A way to listen.
pub trait Transport: Sized {
    /// The server that it is tried on.
    const DRIVER: Driver;
    /// Whether its waits run on the clock that is handed in. Those of response bodies run on the machine's, and look at the clock
    /// when there is an event.
    const IS_CLOCKED: bool = true;
    /// Whether somebody who takes nothing is found out by that clock.
    const IS_WATCHED: bool = true;

    /// Begins to listen.
    async fn open(server: &Server, ask: &Ask) -> Result<Self, Denied>;

    /// The place that was told last: where somebody else may go on.
    fn place(&self) -> &str;

    /// What is heard next.
    async fn next(&mut self) -> Heard;

    /// Is heard by the server from here on, also of transports that ask each time.
    async fn wait(&mut self, _server: &Server) {}

    /// Shows that it is still there, where the transport leaves that to the client.
    async fn live(&mut self) {}
}

/// What was heard and not looked at yet, and the place it leads to.
#[derive(Default)]
pub struct Ear {
    pub heard: VecDeque<Heard>,
    pub place: String,
}

impl Ear {
    pub fn event(&mut self, name: &str, data: Value, cursor: Option<&str>) {
        self.heard.push_back(Heard::Event(Told { name: name.into(), data, cursor: cursor.map(str::to_owned) }));
    }

    pub fn gap(&mut self, gap: &Value) {
        self.heard.push_back(Heard::Gap(Gap::of(gap)));
    }

    pub fn end(&mut self, close: &Value) {
        self.heard.push_back(Heard::Ended(Ending::of(close)));
    }

    /// The first of what was heard, and the place behind it.
    pub fn next(&mut self) -> Option<Heard> {
        let heard = self.heard.pop_front()?;
        match &heard {
            Heard::Event(Told { cursor: Some(cursor), .. }) | Heard::Gap(Gap { resumed: cursor, .. }) => {
                self.place.clone_from(cursor);
            }
            Heard::Event(_) | Heard::Ended(_) => {}
        }
        Some(heard)
    }
}
