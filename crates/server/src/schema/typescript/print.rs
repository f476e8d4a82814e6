//! Types as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::types::{Member, Ty};

/// How long a line may be, about.
pub(super) const WIDTH: usize = 100;

/// The type, in a place that is indented by so many levels.
pub(super) fn print(ty: &Ty, level: usize) -> String {
    match ty {
        Ty::Unknown => "unknown".into(),
        Ty::Never => "never".into(),
        Ty::Word(word) => word.clone(),
        Ty::Array(of) => format!("{}[]", within(of, level, false)),
        Ty::Tuple(items, least, rest) => tuple(items, *least, rest.as_deref(), level),
        Ty::Union(all) => joined(all, " | ", level),
        Ty::All(all) => joined(all, " & ", level),
        Ty::Object(members, index) => object(members, index.as_deref(), level),
    }
}

/// The type as a part of another one: in brackets if it is several, unless it is one of a union that is enough by itself.
pub(super) fn within(ty: &Ty, level: usize, in_union: bool) -> String {
    match ty {
        Ty::Union(_) => format!("({})", print(ty, level)),
        Ty::All(_) if !in_union => format!("({})", print(ty, level)),
        _ => print(ty, level),
    }
}

fn joined(all: &[Ty], by: &str, level: usize) -> String {
    all.iter().map(|one| within(one, level, by == " | ")).collect::<Vec<_>>().join(by)
}

fn tuple(items: &[Ty], least: usize, rest: Option<&Ty>, level: usize) -> String {
    let mut parts: Vec<String> = items
        .iter()
        .enumerate()
        .map(
            |(index, item)| if index < least { print(item, level) } else { format!("{}?", within(item, level, false)) },
        )
        .collect();
    parts.extend(rest.map(|rest| format!("...{}[]", within(rest, level, false))));
    format!("[{}]", parts.join(", "))
}

fn object(members: &[Member], index: Option<&Ty>, level: usize) -> String {
    if members.is_empty() {
        return match index {
            Some(index) => format!("{{ [member: string]: {} }}", print(index, level)),
            None => "{ [member: string]: unknown }".into(),
        };
    }
    let indent = "  ".repeat(level + 1);
    let mut out = String::from("{\n");
    for member in members {
        put_comment(&mut out, &member.comment, level + 1);
        let mark = if member.optional { "?" } else { "" };
        // Writing to a String does not fail.
        let _ = writeln!(out, "{indent}{}{mark}: {}", key(&member.name), print(&member.ty, level + 1));
    }
    if let Some(index) = index {
        let _ = writeln!(out, "{indent}[member: string]: {}", print(index, level + 1));
    }
    let _ = write!(out, "{}}}", "  ".repeat(level));
    out
}

/// The name of a member, in quotes unless it can stand without.
pub(super) fn key(name: &str) -> String {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    let is_identifier =
        name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit()) && name != "__proto__";
    if is_identifier { name.to_owned() } else { quoted(name) }
}

/// A value that is no list and no object, as a type.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        value => value.to_string(),
    }
}

/// A text in quotes, on one line whatever is in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // What ends a line in JavaScript (ECMA-262 §12.3), and what can't be seen or turns the direction of what follows.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// What a schema says for readers.
pub(super) fn comment(schema: &Value) -> Vec<String> {
    let text = |name: &str| schema.get(name).and_then(Value::as_str);
    let mut lines: Vec<String> =
        text("description").unwrap_or_default().lines().map(|line| comment_text(line).trim_end().to_owned()).collect();
    if let Some(format) = text("format") {
        lines.push(format!("Format: {}.", comment_text(format)));
    }
    if let Some(default) = schema.get("default") {
        lines.push(format!("Default: `{}`.", comment_text(&default.to_string())));
    }
    if schema.get("deprecated") == Some(&Value::Bool(true)) {
        lines.push("@deprecated".into());
    }
    lines
}

/// A text that does not end the comment it stands in.
pub(super) fn comment_text(text: &str) -> String {
    text.replace("*/", "*\\/").replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ")
}

pub(super) fn put_comment(out: &mut String, lines: &[String], level: usize) {
    let indent = "  ".repeat(level);
    let _ = match lines {
        [] => Ok(()),
        [line] => writeln!(out, "{indent}/** {line} */"),
        lines => {
            let _ = writeln!(out, "{indent}/**");
            let _ = lines.iter().try_for_each(|line| writeln!(out, "{}", format!("{indent} * {line}").trim_end()));
            writeln!(out, "{indent} */")
        }
    };
}
