//! TypeScript of a view: one type for each event, and all of them told apart by their names.

mod print;
mod types;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use tidings::Args;

use self::print::{comment, key, print};
use self::types::{Ty, type_of};
use super::refs;
use super::view::{View, ViewEvent};

/// What is said at the top of a file.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Whose events these are, and who sees them so.
    pub about: String,
    /// The command that makes it again.
    pub command: String,
    /// The events that a mount of Socket.IO tells beside those of the view; `None` where it is no such mount.
    pub socketio: Option<Vec<String>>,
}

/// The text of a file of types. The same view gives the same text.
pub fn write(view: &View, header: &Header) -> String {
    let mut out = String::new();
    let one_line = |text: &str| text.replace(char::is_control, " ");
    // Writing to a String does not fail, here and below.
    let _ = writeln!(out, "// {}", one_line(&header.about));
    let _ = writeln!(
        out,
        "// Made by `{}`. Do not edit it: change the schemas, and make it again.",
        one_line(&header.command)
    );
    for (name, schema) in &view.types {
        declare(&mut out, name, &safe(name, schema, view), comment(schema));
    }
    let shared: Vec<&ViewEvent> = view.events.iter().map(|event| first_alike(view, event)).collect();
    for (event, first) in view.events.iter().zip(&shared) {
        if event.name != first.name {
            continue;
        }
        let mut lines = comment(&event.schema);
        if lines.is_empty() {
            lines.push(format!("The data of `{}`.", print::comment_text(&event.name)));
        }
        declare(&mut out, &event.type_name, &data_type(event), lines);
    }
    out.push_str("\n/** The data of each event, by its name. */\nexport interface Events {\n");
    for (event, first) in view.events.iter().zip(&shared) {
        let _ = writeln!(out, "  {}: {}", key(&event.name), first.type_name);
    }
    out.push_str("}\n\n/** Any of the events, told apart by `name`. */\nexport type LiveEvent = {\n");
    out.push_str("  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }\n}[keyof Events]\n");
    if let Some(more) = &header.socketio {
        listeners(&mut out, view, more);
    }
    out
}

/// What `Socket` of socket.io-client is to be told.
fn listeners(out: &mut String, view: &View, more: &[String]) {
    out.push_str(
        "\n/** For socket.io-client: `Socket<ServerToClientEvents>`. */\nexport interface ServerToClientEvents {\n",
    );
    for event in &view.events {
        let type_name = &first_alike(view, event).type_name;
        let _ = match (event.args, type_of(&event.schema)) {
            (Args::Zero, _) => writeln!(out, "  {}: () => void", key(&event.name)),
            (Args::Spread, Ty::Array(_) | Ty::Tuple(..)) => {
                writeln!(out, "  {}: (...data: {type_name}) => void", key(&event.name))
            }
            (Args::Spread, _) => writeln!(out, "  {}: (...data: unknown[]) => void", key(&event.name)),
            (Args::One, _) => writeln!(out, "  {}: (data: {type_name}) => void", key(&event.name)),
        };
    }
    for name in more.iter().filter(|name| !view.events.iter().any(|event| event.name == **name)) {
        let _ = writeln!(out, "  {}: (data: unknown) => void", key(name));
    }
    out.push_str("}\n");
}

/// The first event with this one's titled data: their type is one, as their schema is.
fn first_alike<'v>(view: &'v View, event: &'v ViewEvent) -> &'v ViewEvent {
    let has_title = event.schema.get("title").is_some();
    let alike = |other: &&ViewEvent| has_title && other.schema == event.schema && other.args == event.args;
    view.events.iter().find(alike).unwrap_or(event)
}

/// The data as a listener has it: an event whose name says it all has none.
fn data_type(event: &ViewEvent) -> Ty {
    match event.args {
        Args::Zero => Ty::Word("undefined".into()),
        Args::One | Args::Spread => type_of(&event.schema),
    }
}

/// The type of a definition. One that is nothing but itself says nothing.
fn safe(name: &str, schema: &Value, view: &View) -> Ty {
    match refs::leads_to(schema, name, &view.types, &mut BTreeSet::new()) {
        true => Ty::Unknown,
        false => type_of(schema),
    }
}

fn declare(out: &mut String, name: &str, ty: &Ty, lines: Vec<String>) {
    out.push('\n');
    print::put_comment(out, &lines, 0);
    let _ = match ty {
        Ty::Object(..) => writeln!(out, "export interface {name} {}", print(ty, 0)),
        Ty::Union(all) if print(ty, 0).len() > print::WIDTH => {
            let _ = writeln!(out, "export type {name} =");
            all.iter().try_for_each(|one| writeln!(out, "  | {}", print::within(one, 1, true)))
        }
        _ => writeln!(out, "export type {name} = {}", print(ty, 0)),
    };
}

#[cfg(test)]
mod tests;
